// Progress writes to the process's stderr, so each test runs its scenario in a child: a pipe for "elsewhere", a pseudo
// terminal for "terminal".
#include "core/progress.h"

#include <regex.h>

#include <thread>

#include <gtest/gtest.h>

#include "tests/support/child.h"

namespace yopo {
namespace {

using testing::in_child;
using testing::Outcome;
using Milliseconds = std::chrono::milliseconds;

/// Whether the whole of `text` matches the POSIX extended expression; its first group into `group`.
bool matches(const std::string& text, const std::string& expression, std::string* group = nullptr) {
  regex_t compiled;
  if (regcomp(&compiled, ("^(" + expression + ")$").c_str(), REG_EXTENDED) != 0) return false;
  regmatch_t found[3];
  const bool matched = regexec(&compiled, text.c_str(), 3, found, 0) == 0;
  regfree(&compiled);
  if (matched && group) *group = text.substr(size_t(found[2].rm_so), size_t(found[2].rm_eo - found[2].rm_so));
  return matched;
}

int work(int64_t steps, Milliseconds each, int64_t already = 0) {
  Progress progress("calibrating", steps, "samples", already);
  for (int64_t i = already; i < steps; ++i) {
    std::this_thread::sleep_for(each);
    progress.tick();
  }
  progress.finish();
  return 0;
}

TEST(Progress, ShortWorkIsSilent) {
  for (const bool terminal : {false, true}) {
    const Outcome outcome = in_child(terminal, [] { return work(20, Milliseconds(1)); });
    EXPECT_TRUE(outcome.exited(0));
    EXPECT_EQ(outcome.text, "");
  }
}

TEST(Progress, ElsewhereOnePlainFinalLine) {
  const Outcome outcome = in_child(false, [] { return work(12, Milliseconds(100)); });
  EXPECT_TRUE(outcome.exited(0));
  EXPECT_TRUE(matches(outcome.text, "calibrating: 12 samples in 0:0[1-9], [0-9.]+ samples/s\n")) << outcome.text;
}

TEST(Progress, ElsewhereALineEveryFiveSeconds) {
  const Outcome outcome = in_child(false, [] { return work(13, Milliseconds(500)); });
  EXPECT_TRUE(matches(outcome.text,
                      "calibrating: (9|10|11)/13 samples \\([0-9]+%\\), [0-9.]+ samples/s, 0:0[0-9] left\n"
                      "calibrating: 13 samples in 0:(0[6-9]|1[0-9]), [0-9.]+ samples/s\n"))
      << outcome.text;
}

TEST(Progress, TerminalRewritesItsLine) {
  const Outcome outcome = in_child(true, [] { return work(15, Milliseconds(100)); });
  EXPECT_NE(outcome.text.find("\r\x1b[Kcalibrating: "), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.text.find("/15 samples ("), std::string::npos);
  EXPECT_NE(outcome.text.find(" left"), std::string::npos);
  // The summary replaces the live line and is the only line with an end.
  EXPECT_TRUE(matches(outcome.text, ".*\r\x1b\\[Kcalibrating: 15 samples in 0:0[1-9], [0-9.]+ samples/s\r\n"));
  EXPECT_EQ(std::count(outcome.text.begin(), outcome.text.end(), '\n'), 1);
}

// A unit that takes long: what is done of it counts for the share, the rate and the time left.
TEST(Progress, PartsOfAUnit) {
  const Outcome outcome = in_child(true, [] {
    Progress progress("calibrating", 4, "samples");
    std::this_thread::sleep_for(Milliseconds(1100));
    progress.part(0.5);
    std::this_thread::sleep_for(Milliseconds(150));
    progress.part(1.5);  // two go together
    std::this_thread::sleep_for(Milliseconds(150));
    progress.tick();
    std::this_thread::sleep_for(Milliseconds(150));
    progress.tick();
    std::this_thread::sleep_for(Milliseconds(150));
    progress.part(1);
    return 0;
  });
  std::vector<std::string> lines;
  for (size_t at = 0; (at = outcome.text.find("calibrating: ", at)) != std::string::npos; ++at)
    lines.push_back(outcome.text.substr(at, outcome.text.find(')', at) + 1 - at));
  EXPECT_EQ(lines, (std::vector<std::string>{"calibrating: 0/4 samples (12%)", "calibrating: 0/4 samples (38%)",
                                             "calibrating: 1/4 samples (38%)", "calibrating: 2/4 samples (50%)",
                                             "calibrating: 2/4 samples (75%)"}));
  EXPECT_TRUE(matches(outcome.text, "[^%]*12%\\), 0\\.[1-4][0-9]* samples/s, 0:(0[789]|[1-3][0-9]) left(.|\r|\n)*"))
      << outcome.text;
}

TEST(Progress, TerminalLineNeverWraps) {
  const Outcome outcome = in_child(true, [] {
    Progress progress(std::string(200, 'x'), 100, "u");
    std::this_thread::sleep_for(Milliseconds(1100));
    progress.tick();
    return 0;
  });
  EXPECT_NE(outcome.text.find(std::string(59, 'x')), std::string::npos);
  EXPECT_EQ(outcome.text.find(std::string(60, 'x')), std::string::npos) << "the terminal has 60 columns";
  EXPECT_TRUE(outcome.text.ends_with("\n")) << "left by its destructor, the line is ended";
}

TEST(Progress, NotesClearTheLiveLine) {
  const Outcome outcome = in_child(true, [] {
    Progress progress("x", 100, "u");
    std::this_thread::sleep_for(Milliseconds(1100));
    progress.tick();
    note("hello");
    warn("careful");
    return 0;
  });
  EXPECT_NE(outcome.text.find("left\r\x1b[Khello\r\nwarning: careful\r\n"), std::string::npos) << outcome.text;
}

// Names of files are foreign: one with an escape sequence must not reach the terminal as such, nor one with a newline
// look like a line of ours.
TEST(Progress, WhatComesFromOutsideIsEscaped) {
  const Outcome outcome = in_child(true, [] {
    note("a\x1b]0;title\x07\nb");
    warn(
        "\xc2\x9b"
        "31m \xe2\x80\xae");
    Progress progress("x\x1b[2J", 100, "u");
    std::this_thread::sleep_for(Milliseconds(1100));
    progress.tick();
    progress.finish();
    return 0;
  });
  EXPECT_NE(outcome.text.find("a\\x1b]0;title\\x07\\x0ab\r\nwarning: \\u009b31m \\u202e\r\n"), std::string::npos)
      << outcome.text;
  EXPECT_NE(outcome.text.find("x\\x1b[2J: 1"), std::string::npos) << outcome.text;
  EXPECT_EQ(outcome.text.find("\x1b[2J"), std::string::npos);
}

TEST(Progress, QuietSaysNothing) {
  const Outcome outcome = in_child(false, [] {
    set_quiet(true);
    note("a");
    warn("b");
    return quiet() ? work(11, Milliseconds(100)) : 1;
  });
  EXPECT_TRUE(outcome.exited(0));
  EXPECT_EQ(outcome.text, "");
}

// A sink of the caller's hears everything at once, and stderr nothing; without it stderr has its lines again.
TEST(Progress, ASinkHearsInPlaceOfStderr) {
  const Outcome outcome = in_child(true, [] {
    std::vector<std::string> lines;
    std::vector<ProgressReport> reports;
    set_progress_sink(ProgressSink{[&](const std::string& line) { lines.push_back("note " + line); },
                                   [&](const std::string& line) { lines.push_back("warning " + line); },
                                   [&](const ProgressReport& report) { reports.push_back(report); }});
    note("a");
    warn("b");
    work(8, Milliseconds(60), 2);
    set_progress_sink(ProgressSink());
    note("nobody");
    work(1, Milliseconds(1));
    set_progress_sink({});
    note("c");
    if (lines != std::vector<std::string>{"note a", "warning b"}) return 1;
    // 6 steps in 0.36 s, at most one report in 0.1 s, and the end.
    if (reports.size() < 3 || reports.size() > 5) return 2;
    const ProgressReport& first = reports.front();
    if (first.what != "calibrating" || first.unit != "samples" || first.total != 8 || first.before != 2) return 3;
    if (first.finished || !(first.done > 2 && first.done < 8) || first.seconds < 0.1) return 4;
    return reports.back().finished && reports.back().done == 8 && reports.back().seconds >= 0.36 ? 0 : 5;
  });
  EXPECT_TRUE(outcome.exited(0)) << outcome.status;
  EXPECT_EQ(outcome.text, "c\r\n");
}

TEST(Progress, QuietIsQuietForASinkToo) {
  const Outcome outcome = in_child(false, [] {
    int heard = 0;
    set_progress_sink(ProgressSink{[&](const std::string&) { ++heard; }, [&](const std::string&) { ++heard; },
                                   [&](const ProgressReport&) { ++heard; }});
    set_quiet(true);
    note("a");
    warn("b");
    work(3, Milliseconds(110));
    return heard;
  });
  EXPECT_TRUE(outcome.exited(0)) << outcome.status;
  EXPECT_EQ(outcome.text, "");
}

TEST(Progress, ResumedWorkCountsOnlyItsOwnTime) {
  // 1000 of 1011 units were done before: the rate is ten a second, not a thousand.
  const Outcome outcome = in_child(false, [] { return work(1011, Milliseconds(100), 1000); });
  std::string rate;
  ASSERT_TRUE(matches(outcome.text, "calibrating: 1011 samples in 0:0[1-9], ([0-9.]+) samples/s\n", &rate))
      << outcome.text;
  EXPECT_LE(std::stod(rate), 10.1);
}

}  // namespace
}  // namespace yopo
