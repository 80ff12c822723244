#include "ranks/member.h"

#include <unistd.h>

#include <fstream>
#include <sstream>
#include <system_error>
#include <vector>

#include "core/file.h"

namespace yopo {
namespace {

std::string first_line(const std::string& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

/// State and time of start in /proc/PID/stat; the name before them may hold anything, brackets included.
struct ProcessState {
  std::string state, started;
};
ProcessState state_of(pid_t process) {
  const std::string line = first_line(fmt::format("/proc/{}/stat", process));
  const size_t name = line.rfind(')');
  if (name == std::string::npos) return {};
  std::istringstream rest(line.substr(name + 1));
  std::vector<std::string> fields;
  for (std::string field; rest >> field;) fields.push_back(field);
  constexpr size_t start = 19;
  return fields.size() > start ? ProcessState{fields[0], fields[start]} : ProcessState{};
}

}  // namespace

Member Member::self() {
  std::error_code ignored;
  // Containers of one machine do not see each other's processes.
  const std::string space = fs::read_symlink("/proc/self/ns/pid", ignored).string();
  return {first_line("/proc/sys/kernel/random/boot_id") + space, ::getpid(), state_of(::getpid()).started};
}

std::string Member::text() const { return fmt::format("{} {} {}", process, started, machine); }

Member Member::parse(const std::string& text) {
  std::istringstream stream(text);
  Member member;
  stream >> member.process >> member.started;
  require(bool(stream) && member.process > 0, "a rank said '{}' instead of which process it is", printable(text));
  stream.get();
  std::getline(stream, member.machine);
  return member;
}

bool Member::gone(const std::string& this_machine) const {
  if (machine.empty() || machine != this_machine) return false;
  const ProcessState now = state_of(process);
  return now.state.empty() || now.state == "Z" || now.state == "X" || now.started != started;
}

}  // namespace yopo
