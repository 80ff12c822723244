#include <algorithm>
#include <cstdio>
#include <new>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "cli/command.h"
#include "core/progress.h"
#include "core/version.h"

namespace {

constexpr int kUserError = 2, kInternalError = 3, kInterrupted = 130;

/// CLI11 complains of what is missing before it names a command or flag that it does not know; this names it first,
/// with what was probably meant.
std::string parse_message(const CLI::ParseError& error, const CLI::App& app, const std::vector<std::string>& words) {
  if (app.get_subcommands().empty() && !words.empty() && !words[0].starts_with("-")) {
    std::vector<std::string> commands;
    for (const CLI::App* command : app.get_subcommands({})) commands.push_back(command->get_name());
    return fmt::format("unknown command '{}'{} (see yopo --help)", yopo::printable(words[0]),
                       yopo::did_you_mean(words[0], commands));
  }
  const std::vector<std::string> rest = app.remaining(true);
  const auto flag = std::find_if(rest.begin(), rest.end(), [](const std::string& r) { return r.starts_with("--"); });
  if (flag == rest.end()) return error.what();
  const std::string word = flag->substr(0, flag->find('='));
  std::vector<std::string> known;
  for (const CLI::App* level = &app; level != nullptr;) {
    for (const CLI::Option* option : level->get_options())
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    const auto used = level->get_subcommands();
    level = used.empty() ? nullptr : used.front();
  }
  return fmt::format("unknown flag {}{}", yopo::printable(word), yopo::did_you_mean(word, known));
}

/// Every batch needs buffers of the same sizes again. By default glibc gives each larger one back to the kernel and
/// takes new pages, zeroed one fault at a time: a tenth of an evaluation. Now up to 256 MB stay.
void keep_freed_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // glibc's own upper end
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
#endif
}

std::string first_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace yopo;
  keep_freed_memory();
  CLI::App app{
      "yopo: offline compression of multimodal language models. Keeps every visual token, computes far less for it."};
  app.name("yopo");
  app.set_version_flag("--version", fmt::format("yopo {}", tool_version));
  app.require_subcommand(1);
  app.footer(
      "Example:\n  yopo run configs/demo.yaml\n\n"
      "Exit codes: 0 done, 1 a check failed, 2 bad input, 3 internal error, 130 interrupted.\n"
      "`yopo COMMAND --help` shows an example of each command.");
  cli::Context context;
  for (auto add : {cli::add_run, cli::add_calibrate, cli::add_plan, cli::add_headmask, cli::add_export, cli::add_verify,
                   cli::add_eval, cli::add_generate, cli::add_inspect, cli::add_merge, cli::add_trace, cli::add_bench,
                   cli::add_random, cli::add_options})
    add(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == int(CLI::ExitCodes::Success)) return app.exit(error);
    std::fprintf(stderr, "yopo: %s\n", parse_message(error, app, {argv + 1, argv + argc}).c_str());
    return kUserError;
  }
  try {
    set_quiet(context.quiet);
    catch_interrupts();
    return context.run();
  } catch (const UserError& error) {
    std::fprintf(stderr, "yopo: %s\n", first_line(error.what()).c_str());
    return kUserError;
  } catch (const Interrupted&) {
    std::fprintf(stderr, "yopo: interrupted; the same command %s\n",
                 context.resumes ? "continues where it stopped" : "starts over");
    return kInterrupted;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "yopo: out of memory\n");
    return kUserError;
  } catch (const fs::filesystem_error& error) {
    std::fprintf(stderr, "yopo: %s\n", error.what());
    return kUserError;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "yopo: internal error: %s\n", error.what());
    return kInternalError;
  }
}
