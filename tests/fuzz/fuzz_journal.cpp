// Any bytes as the journal of an evaluation, sealed as our own: either a UserError that leaves the file as it is, or
// answers, to which more can be added; read again they are the same.
#include <cstdlib>
#include <fstream>

#include "evaluation/journal.h"
#include "evaluation/shard.h"
#include "tests/fuzz/fuzz_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace yopo;
  const std::string_view text = fuzz::text_of(data, size);
  const fs::path file = fuzz::folder().write("journal.jsonl", text);
  fuzz::folder().write("journal.jsonl.fingerprint", "f\n");
  std::vector<Sample> samples(2);
  for (size_t i = 0; i < 2; ++i) samples[i].id = "7", samples[i].repeat = int64_t(i) + 1;
  samples[1].key = repeated_key("7", 2);
  const auto keys = question_keys(samples);
  try {
    std::map<std::string, std::string> answers;
    {
      AnswerJournal journal(file, "f", keys());
      journal.add(samples[1], "added", "model");
      journal.flush();
      answers = journal.answers();
    }
    if (AnswerJournal(file, "f", keys()).answers() != answers) std::abort();
  } catch (const UserError&) {
    std::ifstream left(file, std::ios::binary);  // read_text would refuse a Git LFS pointer
    if (std::string(std::istreambuf_iterator<char>(left), {}) != text) std::abort();
  }
  fuzz::folder().write("seal.fingerprint", text);
  fuzz::refused_or([&] { read_seal(fuzz::folder().path() / "seal"); });
  return 0;
}
