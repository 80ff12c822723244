// The command as a user meets it: help, exit codes, hints.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
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
  for (const char* name : {"run", "calibrate", "plan", "headmask", "export", "verify", "eval", "generate", "inspect",
                           "merge", "trace", "bench", "random", "options"}) {
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
  // What is unknown is named before what is missing.
  for (const auto& [arguments, said] : std::vector<std::pair<std::string, std::string>>{
           {"runn", "unknown command 'runn'; did you mean 'run'?"},
           {"compare a", "unknown command 'compare' (see yopo --help)"},
           {"generate --model x --promt hi", "unknown flag --promt; did you mean '--prompt'?"},
           {"generate --model x --promt=hi", "unknown flag --promt; did you mean '--prompt'?"},
           {"calibrate --samples -1", "--samples: expected 0 (all) or more, found -1"},
           {"bench --rounds 0", "--rounds: expected 1 or more, found 0"},
           {"calibrate --model x --questions q --output o --memory 16",
            "--memory: 16 is 16 bytes, too little for any model; did you mean 16GB?"},
           {"generate --model x --prompt hi --image nope.jpg", "--image: nope.jpg: no such file"},
           {"calibrate --threads 5000", "5000 not in range"}}) {
    const Outcome outcome = yopo(arguments);
    EXPECT_EQ(outcome.code, 2) << arguments;
    EXPECT_TRUE(holds(outcome.text, said)) << outcome.text;
  }
  EXPECT_FALSE(holds(yopo("calibrate --threads 5000").text, "did you mean"));
  EXPECT_EQ(yopo("prune").code, 2);
  EXPECT_EQ(yopo("calibrate").code, 2);
  EXPECT_EQ(yopo("run missing-recipe.yaml").code, 2);
  EXPECT_EQ(yopo("inspect missing-folder").code, 2);
  const Outcome part = yopo("calibrate --model x --questions q --output o --part 3/2");
  EXPECT_EQ(part.code, 2);
  EXPECT_TRUE(holds(part.text, "--part")) << part.text;
  const Outcome zero = yopo("calibrate --model x --questions q --output o --part 0/2");
  EXPECT_EQ(zero.code, 2);
  EXPECT_TRUE(holds(zero.text, "parts are counted from 1, as shards are; the first of N is 1/N, found '0/2'"))
      << zero.text;
  const Outcome recipe = yopo("plan configs/demo.yaml --ffn-keep 0.5");
  EXPECT_EQ(recipe.code, 2);
  EXPECT_TRUE(holds(recipe.text, "yopo: plan: a recipe holds its own options, and --ffn-keep beside it"))
      << recipe.text;
}

TEST(Command, MemoryIsOfferedWhereAModelRuns) {
  for (const char* name : {"run", "calibrate", "verify", "eval", "generate", "trace", "bench"})
    EXPECT_TRUE(holds(yopo(std::string(name) + " --help").text, "--memory")) << name;
  for (const char* name : {"plan", "export", "inspect", "merge", "headmask", "random", "options"}) {
    EXPECT_FALSE(holds(yopo(std::string(name) + " --help").text, "--memory")) << name;
    EXPECT_EQ(yopo(std::string(name) + " --memory 1GB").code, 2) << name;
  }
}

TEST(Command, SeveralFilesOneAfterTheOtherOrWithCommas) {
  for (const char* files : {"a.h5 b.h5", "a.h5,b.h5"}) {
    const Outcome merge = yopo(std::string("merge ") + files + " --output c.h5");
    EXPECT_EQ(merge.code, 2);
    EXPECT_TRUE(holds(merge.text, "a.h5: ")) << merge.text;
  }
  for (const char* files : {"a.jsonl b.jsonl", "a.jsonl,b.jsonl"}) {
    const std::string data = std::string(YOPO_SOURCE_DIR) + "/examples/digitgrid/data/test";
    const Outcome merge = yopo("eval --benchmark vqa --questions " + data + "/questions.jsonl --images " + data +
                               "/images --merge " + files + " --output c.jsonl");
    EXPECT_EQ(merge.code, 2);
    EXPECT_TRUE(holds(merge.text, "a.jsonl: ")) << merge.text;
  }
}

TEST(Command, OptionsPrintsTheTable) {
  const Outcome table = yopo("options");
  EXPECT_EQ(table.code, 0);
  EXPECT_TRUE(holds(table.text, "| `plan.updates.exempt_layers` | `--updates-exempt-layers` |")) << table.text;
}

// A budget reaches the runtime: one that streams layers gives the same answer, one that nothing fits into is named.
TEST(Command, MemoryBudget) {
  const std::string root = std::string(YOPO_SOURCE_DIR) + "/examples/digitgrid/";
  const std::string ask = "generate --quiet --model " + root + "model --image " + root +
                          "data/test/images/0000.png --prompt 'Is there a 6 in the image?'";
  const Outcome whole = yopo(ask), streamed = yopo(ask + " --memory 6MB"), little = yopo(ask + " --memory 3MB");
  EXPECT_EQ(whole.code, 0) << whole.text;
  EXPECT_FALSE(whole.text.empty());
  EXPECT_EQ(streamed.code, 0);
  EXPECT_EQ(streamed.text, whole.text);
  EXPECT_EQ(little.code, 2);
  EXPECT_TRUE(holds(little.text, "memory: 3.00 MB")) << little.text;
  EXPECT_EQ(yopo(ask + " --memory 6XB").code, 2);
}

// Without --json the answer comes as it is made; drawn answers depend on the seed alone.
TEST(Command, DrawsByTheSeed) {
  const std::string root = std::string(YOPO_SOURCE_DIR) + "/examples/digitgrid/";
  const std::string ask = "generate --quiet --model " + root + "model --image " + root +
                          "data/test/images/0000.png --prompt 'How many digits are there?' --max-new-tokens 12";
  const Outcome greedy = yopo(ask), same = yopo(ask + " --temperature 5 --top-k 1 --seed 4");
  EXPECT_EQ(greedy.code, 0) << greedy.text;
  EXPECT_EQ(same.text, greedy.text) << "of one token there is no choice";
  const std::string hot = ask + " --temperature 60 --seed ";
  const Outcome first = yopo(hot + "1"), again = yopo(hot + "1 --threads 1"), other = yopo(hot + "2");
  EXPECT_EQ(first.code, 0) << first.text;
  EXPECT_EQ(again.text, first.text);
  EXPECT_NE(other.text, first.text);
  EXPECT_NE(first.text, greedy.text);
  const Outcome json = yopo(hot + "1 --json");
  EXPECT_EQ(json.code, 0);
  EXPECT_TRUE(holds(json.text, "\"tokens\": [")) << json.text;
  const Outcome bad = yopo(ask + " --temperature 1 --top-p 1.5");
  EXPECT_EQ(bad.code, 2);
  EXPECT_TRUE(holds(bad.text, "top_p")) << bad.text;
}

TEST(Command, CudaThatIsNotThereIsSaidPlainly) {
  const std::string model = std::string(YOPO_SOURCE_DIR) + "/examples/digitgrid/model";
  ASSERT_EQ(setenv("CUDA_VISIBLE_DEVICES", "", 1), 0);  // where there is a GPU, it is hidden
  const Outcome run = yopo("generate --model " + model + " --prompt hi --device cuda");
  unsetenv("CUDA_VISIBLE_DEVICES");
  EXPECT_EQ(run.code, 2);
  EXPECT_TRUE(holds(run.text, "cuda")) << run.text;
}

TEST(Command, InspectsTheDemoModel) {
  const Outcome run = yopo("inspect " + std::string(YOPO_SOURCE_DIR) + "/examples/digitgrid/model --json");
  EXPECT_EQ(run.code, 0) << run.text;
  EXPECT_TRUE(holds(run.text, "\"visual_tokens\": 81")) << run.text;
}

}  // namespace
