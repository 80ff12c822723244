// The command as a user meets it: help, exit codes, hints.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <string>

#include <sys/wait.h>

namespace {

struct Outcome {
  int code;
  std::string text;
};

Outcome yopo(const std::string& arguments) {
  const std::string command = std::string(YOPO_COMMAND) + " " + arguments + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  std::string text;
  std::array<char, 4096> buffer;
  for (size_t read; (read = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) text.append(buffer.data(), read);
  const int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text};
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Command, HelpOfEverySubcommandShowsAnExample) {
  const Outcome help = yopo("--help");
  EXPECT_EQ(help.code, 0);
  EXPECT_TRUE(holds(help.text, "yopo run configs/demo.yaml"));
  for (const char* name : {"run", "calibrate", "plan", "headmask", "export", "verify", "eval", "generate", "inspect", "merge",
                           "trace", "bench"}) {
    EXPECT_TRUE(holds(help.text, name)) << name;
    const Outcome own = yopo(std::string(name) + " --help");
    EXPECT_EQ(own.code, 0) << name;
    EXPECT_TRUE(holds(own.text, "Example:\n  yopo " + std::string(name))) << own.text;
  }
}

TEST(Command, BadArgumentsAreExitCodeTwoWithTheNearestFlag) {
  const Outcome flag = yopo("calibrate --modle x");
  EXPECT_EQ(flag.code, 2);
  EXPECT_TRUE(holds(flag.text, "did you mean '--model'")) << flag.text;
  EXPECT_EQ(yopo("").code, 2);
  EXPECT_EQ(yopo("prune").code, 2);
  EXPECT_EQ(yopo("calibrate").code, 2);
  EXPECT_EQ(yopo("run missing-recipe.yaml").code, 2);
  EXPECT_EQ(yopo("inspect missing-folder").code, 2);
  const Outcome part = yopo("calibrate --model x --questions q --output o --part 3/2");
  EXPECT_EQ(part.code, 2);
  EXPECT_TRUE(holds(part.text, "--part")) << part.text;
}

TEST(Command, CudaThatIsNotThereIsSaidPlainly) {
  const std::string model = std::string(YOPO_SOURCE_DIR) + "/examples/digitgrid/model";
  const Outcome run = yopo("generate --model " + model + " --prompt hi --device cuda");
  EXPECT_EQ(run.code, 2);
  EXPECT_TRUE(holds(run.text, "cuda")) << run.text;
}

TEST(Command, InspectsTheDemoModel) {
  const Outcome run = yopo("inspect " + std::string(YOPO_SOURCE_DIR) + "/examples/digitgrid/model --json");
  EXPECT_EQ(run.code, 0) << run.text;
  EXPECT_TRUE(holds(run.text, "\"visual_tokens\": 81")) << run.text;
}

}  // namespace
