#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <new>
#include <sstream>
#include <string_view>
#include <system_error>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "cli/command.h"
#include "cli/crashes.h"
#include "cli/output.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "core/remarks.h"
#include "core/version.h"
#include "runtime/busy_machine.h"

namespace {

constexpr int kUserError = 2, kInternalError = 3, kInterrupted = 130;
constexpr int kReaderLeft = 141;  // as a shell reports a process that SIGPIPE ended

/// CLI11 complains of what is missing before it names a command or flag that it does not know; this names it first,
/// with what was probably meant.
std::string parse_fault(const CLI::ParseError& error, const CLI::App& app, int argc, char** argv) {
  if (app.get_subcommands().empty() && argc > 1 && argv[1][0] != '-') {
    std::vector<std::string> commands;
    for (const CLI::App* command : app.get_subcommands(nullptr)) commands.push_back(command->get_name());
    return fmt::format("unknown command '{}'{} (see yopo --help)", yopo::printable(argv[1]),
                       yopo::did_you_mean(argv[1], commands));
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

/// The one line on stderr by which a command says why it ends.
void say(const std::string& reason) {
  // Every message about the world passes here or through progress.h, so nothing foreign reaches the terminal as it is.
  const std::string line = "yopo: " + yopo::escaped(reason) + "\n";
  for (size_t at = 0; at < line.size();) {
    const ssize_t step = ::write(STDERR_FILENO, line.data() + at, line.size() - at);
    if (step < 0 && errno == EINTR) continue;
    if (step <= 0) return;  // nobody to tell; the exit code says it
    at += size_t(step);
  }
}

/// Whether a library, which has its own classes of errors, complains that there is no memory.
bool is_out_of_memory(std::string_view what) {
  for (const std::string_view words : {"can't allocate memory", "Cannot allocate memory", "not enough memory"})
    if (what.find(words) != std::string_view::npos) return true;
  return false;
}

int run(int argc, char** argv, yopo::cli::Context& context) {
  using namespace yopo;
  CLI::App app{
      "yopo: offline compression of multimodal language models. Keeps every visual token, computes far less for it."};
  app.name("yopo");
  app.set_version_flag("--version", fmt::format("yopo {}", tool_version));
  app.require_subcommand(1);
  app.footer(
      "Example:\n  yopo run configs/demo.yaml\n\n"
      "Exit codes: 0 done, 1 a check failed, 2 bad input or unwritable output, 3 internal error, 130 interrupted,\n"
      "141 nobody reads the output.\n"
      "`yopo COMMAND --help` shows an example of each command.");
  for (auto add : {cli::add_run, cli::add_compare, cli::add_calibrate, cli::add_plan, cli::add_headmask,
                   cli::add_export, cli::add_verify, cli::add_eval, cli::add_generate, cli::add_inspect, cli::add_merge,
                   cli::add_trace, cli::add_bench, cli::add_random, cli::add_report, cli::add_options})
    add(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != int(CLI::ExitCodes::Success)) throw UserError(parse_fault(error, app, argc, argv));
    std::ostringstream help;
    app.exit(error, help, help);
    cli::print(help.str());
    return 0;
  }
  set_quiet(context.quiet);
  set_strict(context.strict);
  check_interrupt();
  cli::join_ranks(app.get_subcommands().front()->get_name(), context);
  return context.run();
}

/// The exit code, and why, where there is something to say.
struct Ending {
  int code = 0;
  std::string reason = {};
};

Ending ending_of(int argc, char** argv, yopo::cli::Context& context) {
  using namespace yopo;
  try {
    catch_interrupts();
    const runtime::BusyMachine busy;
    const int code = run(argc, argv, context);
    cli::finish_output();
    if (context.ranks) context.ranks->leave();
    if (!interrupted()) return {code};
    return {kInterrupted, "interrupted; it had just finished"};
  } catch (const UserError& error) {
    return {kUserError, error.what()};
  } catch (const cli::ReaderLeft&) {
    return {kReaderLeft};
  } catch (const Interrupted&) {
    return {kInterrupted, std::string("interrupted; the same command ") +
                              (context.resumes ? "continues where it stopped" : "starts over")};
  } catch (const RankFailed& error) {
    return {error.code(), error.what()};
  } catch (const StoreLost& error) {
    return {kInterrupted, error.what()};
  } catch (const std::bad_alloc&) {
    return {kUserError, "out of memory"};
  } catch (const std::system_error& error) {  // files, threads
    return {kUserError, error.what()};
  } catch (const std::exception& error) {
    if (is_out_of_memory(error.what())) return {kUserError, "out of memory"};
    return {kInternalError, fmt::format("internal error: {}", error.what())};
  }
}

/// From the first instruction to the exit code.
int whole_command(int argc, char** argv) {
  using namespace yopo;
  keep_freed_memory();
  // A reader that has left is an error of the write, which each writer knows to judge.
  ::signal(SIGPIPE, SIG_IGN);
  // As is a file that grows beyond the process's limit (ulimit -f), which then is as good as a full disk.
  ::signal(SIGXFSZ, SIG_IGN);
  cli::catch_crashes();
  cli::Context context;
  Ending ending = ending_of(argc, argv, context);
  if (context.ranks && (!ending.reason.empty() || ending.code == kReaderLeft)) {
    if (ending.reason.empty()) ending.reason = "nobody reads its output";
    const RankFailure end = context.ranks->leave_with(ending.code, ending.reason, interrupted());
    ending = {end.code, fmt::format("{}: {}", context.ranks->name(), end.message)};
  }
  if (!ending.reason.empty()) say(ending.reason);
  return ending.code;
}

}  // namespace

int main(int argc, char** argv) {
  const int code = whole_command(argc, argv);
#if defined(__SANITIZE_ADDRESS__)
  return code;  // what leaked is told at the end
#else
  // All is written and closed. What is left, the destructors of LibTorch's tables, takes a tenth of a second.
  ::_exit(code);
#endif
}
