#include "report/draw.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "core/error.h"
#include "core/interrupt.h"
#include "images/codecs.h"

extern char** environ;

namespace yopo {
namespace {

constexpr int kScale = 2;

/// A folder of its own for the program's files, gone with it.
struct Scratch {
  fs::path path;
  Scratch() {
    std::string pattern = (fs::temp_directory_path() / "yopo-report-XXXXXX").string();
    require(::mkdtemp(pattern.data()) != nullptr, "{}: cannot make a temporary folder: {}", pattern,
            std::strerror(errno));
    path = pattern;
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

std::string file_url(const fs::path& path) {
  std::string url = "file://";
  for (const char c : path.string())
    url += std::isalnum(uint8_t(c)) || std::string_view("/-_.~").find(c) != std::string_view::npos
               ? std::string(1, c)
               : fmt::format("%{:02X}", uint8_t(c));
  return url;
}

std::vector<std::string> arguments_of(const Drawer& drawer, const fs::path& folder, int64_t width, int64_t height) {
  const std::string in = (folder / "chart.svg").string(), out = (folder / "chart.png").string();
  if (drawer.name == "rsvg-convert") return {"--zoom", std::to_string(kScale), "--output", out, in};
  if (drawer.name == "inkscape")
    return {"--export-type=png", fmt::format("--export-dpi={}", 96 * kScale), "--export-filename=" + out, in};
  std::vector<std::string> arguments{"--headless",
                                     "--disable-gpu",
                                     "--hide-scrollbars",
                                     fmt::format("--force-device-scale-factor={}", kScale),
                                     fmt::format("--window-size={},{}", std::max<int64_t>(width, 500), height + 200),
                                     "--user-data-dir=" + (folder / "profile").string(),
                                     "--screenshot=" + out};
  if (::geteuid() == 0) arguments.push_back("--no-sandbox");  // it refuses to start as root with one
  arguments.push_back(file_url(in));
  return arguments;
}

/// Its exit status as waitpid gives it.
int run(const fs::path& program, std::vector<std::string> arguments, const fs::path& said, const std::string& name) {
  arguments.insert(arguments.begin(), program.string());
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, said.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  posix_spawnattr_t how;
  posix_spawnattr_init(&how);
  // Ours are blocked and SIGPIPE is ignored; the program shall find what a shell would give it, in a group of its own
  // that can be ended whole.
  sigset_t none, pipe;
  sigemptyset(&none), sigemptyset(&pipe), sigaddset(&pipe, SIGPIPE);
  posix_spawnattr_setsigmask(&how, &none);
  posix_spawnattr_setsigdefault(&how, &pipe);
  posix_spawnattr_setpgroup(&how, 0);
  posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  pid_t child = 0;
  const int failure = ::posix_spawn(&child, program.c_str(), &files, &how, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&how);
  require(failure == 0, "{}: cannot be started: {}", program.string(), std::strerror(failure));
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  int status = 0;
  while (true) {
    const pid_t found = ::waitpid(child, &status, WNOHANG);
    if (found == child) return status;
    const bool late = std::chrono::steady_clock::now() > end;
    if (found < 0 || late || interrupted()) {
      ::kill(-child, SIGKILL);
      ::waitpid(child, &status, 0);
      check_interrupt();
      require(!late, "{}: {}: took longer than a minute", program.string(), name);
      return status;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

/// `number` of the first `key="number"`.
int64_t size_of(std::string_view svg, std::string_view key) {
  const size_t at = svg.find(key);
  ensure(at != std::string_view::npos, "a drawing says its size");
  return std::atoll(svg.data() + at + key.size());
}

}  // namespace

Drawer find_drawer() {
  const char* path = std::getenv("PATH");
  for (const char* name : {"rsvg-convert", "inkscape", "chromium"}) {
    std::string_view rest = path ? path : "";
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(':'), rest.size());
      const fs::path program = fs::path(rest.substr(0, end)) / name;
      if (end > 0 && fs::is_regular_file(program) && ::access(program.c_str(), X_OK) == 0) return {name, program};
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  throw UserError(
      "--png: PATH has none of rsvg-convert, inkscape and chromium, which draw the charts; on Debian and Ubuntu "
      "`apt-get install librsvg2-bin` brings rsvg-convert");
}

std::vector<std::byte> draw_png(const Drawer& drawer, std::string_view svg, const std::string& name) {
  const int64_t width = size_of(svg, "width=\""), height = size_of(svg, "height=\"");
  const Scratch scratch;
  write_text(scratch.path / "chart.svg", svg);
  const int status =
      run(drawer.program, arguments_of(drawer, scratch.path, width, height), scratch.path / "said", name);
  const fs::path file = scratch.path / "chart.png";
  if (status != 0 || !fs::exists(file)) {
    std::string said = fs::exists(scratch.path / "said") ? read_text(scratch.path / "said") : "";
    if (said.size() > 400) said = "..." + said.substr(said.size() - 400);
    throw UserError(fmt::format("{}: {}: drew nothing (exit status {}): {}", drawer.program.string(), name,
                                WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), said));
  }
  Image image = read_image(file, drawer.program.string());
  const int64_t w = width * kScale, h = height * kScale;
  require(image.width >= w && image.height >= h, "{}: {}: drew {} x {} pixels, expected {} x {}",
          drawer.program.string(), name, image.width, image.height, w, h);
  // A browser's window may be larger.
  for (int64_t y = 0; y < h; ++y)
    std::copy_n(image.rgb.begin() + y * image.width * 3, w * 3, image.rgb.begin() + y * w * 3);
  image.width = w, image.height = h;
  image.rgb.resize(size_t(w * h * 3));
  return encode_png(image);
}

}  // namespace yopo
