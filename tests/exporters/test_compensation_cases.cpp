// An exported checkpoint, whose compensation lies in yopo.safetensors, against the reference decoder's numbers.
#include <gtest/gtest.h>

#include "exporters/export.h"
#include "plans/pruned_config.h"
#include "runtime/engine.h"
#include "tests/support/compensation_case.h"

namespace yopo {
namespace {

TEST(ExportedCompensation, GivesTheCasesNumbersAndNoMutants) {
  for (const testing::CompensationCase& one : testing::compensation_cases()) {
    const testing::TemporaryFolder folder;
    export_checkpoint(testing::open_case_model(one.of), testing::plan_of(one), folder / "pruned", {});
    const OpenModel pruned = open_model(folder / "pruned");
    const Plan plan = plan_of_checkpoint(pruned.checkpoint, pruned.spec.text).value();
    TraceOptions options;
    options.decode = one.decode();
    testing::expect_case(one, runtime::Engine(pruned, plan, {.dtype = "fp32"}).trace(one.input(), options));

    // Its vectors by the names that the documents say.
    const SafetensorsFile written = SafetensorsFile::open(folder / "pruned" / compensation_name);
    const SafetensorsFile given = SafetensorsFile::open(one.folder() / (one.run + ".plan.safetensors"));
    ASSERT_EQ(written.tensors().size(), given.tensors().size());
    for (const auto& [name, tensor] : given.tensors()) EXPECT_EQ(written.at(name).floats(), tensor.floats()) << name;
  }
}

}  // namespace
}  // namespace yopo
