// A scenario in a process of its own, whose stderr, whose end and whose signals the test sees.
#pragma once

#include <functional>
#include <string>

#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "core/error.h"

namespace yopo::testing {

struct Outcome {
  std::string text;  // all of stderr
  int status = -1;   // as waitpid gives it
  bool exited(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
};

/// Its stderr is a pseudo terminal of 60 columns or a pipe. What it returns is its exit code, 42 after Interrupted, 99
/// after anything else that it throws. `meanwhile` runs beside it.
inline Outcome in_child(bool terminal, const std::function<int()>& scenario,
                        const std::function<void(pid_t)>& meanwhile = {}) {
  int reader = -1, writer = -1;
  if (terminal) {
    winsize size{24, 60, 0, 0};
    EXPECT_EQ(openpty(&reader, &writer, nullptr, nullptr, &size), 0);
  } else {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    reader = ends[0];
    writer = ends[1];
  }
  const pid_t child = fork();
  if (child == 0) {
    dup2(writer, STDERR_FILENO);
    close(reader);
    close(writer);
    int code = 99;
    try {
      code = scenario();
    } catch (const Interrupted&) {
      code = 42;
    } catch (...) {
    }
    _exit(code);
  }
  close(writer);
  if (meanwhile) meanwhile(child);
  Outcome outcome;
  char buffer[4096];
  // A terminal whose other side closed gives an error instead of an end.
  for (ssize_t got; (got = read(reader, buffer, sizeof buffer)) > 0;) outcome.text.append(buffer, size_t(got));
  close(reader);
  waitpid(child, &outcome.status, 0);
  return outcome;
}

}  // namespace yopo::testing
