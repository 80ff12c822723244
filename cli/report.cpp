#include "cli/command.h"
#include "cli/output.h"
#include "report/data.h"

namespace yopo::cli {

void add_report(CLI::App& app, Context& context) {
  auto folder = std::make_shared<std::string>();
  CLI::App* command = add_command(app, context, Runs::Nothing, "report",
                                  "What a run chose and what it cost, as one HTML page", "yopo report out/demo");
  command->add_option("folder", *folder, "Output folder of `yopo run`")->required();
  command->callback([folder, &context] {
    context.run = [folder, &context] {
      const fs::path file = fs::path(*folder) / "report.html";
      const ReportData data = read_report(*folder);
      write_text(file, report_page(data));
      if (context.json)
        print_json({{"report", file.string()}, {"notes", data.notes}});
      else
        print(fmt::format("{}\n", file.string()));
      return 0;
    };
  });
}

}  // namespace yopo::cli
