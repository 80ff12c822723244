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
                           "merge", "trace", "bench", "random", "report", "compare", "options"}) {
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
           {"insepct x", "unknown command 'insepct'; did you mean 'inspect'?"},
           {"dismantle a", "unknown command 'dismantle' (see yopo --help)"},
           {"generate --model x --promt hi", "unknown flag --promt; did you mean '--prompt'?"},
           {"generate --model x --promt=hi", "unknown flag --promt; did you mean '--prompt'?"},
           {"calibrate --model x --questions q --output o --memory 16",
            "--memory: 16 is 16 bytes, too little for any model; did you mean 16GB?"},
           {"generate --model x --prompt hi --image nope.jpg", "--image: nope.jpg: no such file"}}) {
    const Outcome outcome = yopo(arguments);
    EXPECT_EQ(outcome.code, 2) << arguments;
    EXPECT_TRUE(holds(outcome.text, said)) << outcome.text;
  }
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
}

// A flag that nothing would read is a misunderstanding.
TEST(Command, ARecipeHoldsItsOwnOptions) {
  const char* both[] = {"calibrate r.yaml --part 1/2", "plan r.yaml --ffn-keep 0.5",    "plan r.yaml --random 0",
                        "export r.yaml --model m",     "verify r.yaml --output v.json", "eval r.yaml --batch-size 7",
                        "eval r.yaml --shard 1/2",     "calibrate r.yaml --questions q"};
  for (const std::string arguments : both) {
    const Outcome refused = yopo(arguments);
    const std::string flag = arguments.substr(arguments.find("--"), arguments.rfind(' ') - arguments.find("--"));
    EXPECT_EQ(refused.code, 2) << arguments;
    EXPECT_TRUE(holds(refused.text, ": " + flag + " is not read beside a recipe")) << refused.text;
  }
  EXPECT_TRUE(
      holds(yopo("eval r.yaml --model m --dense").text, "yopo: eval: --model, --dense are not read beside a recipe"));
  for (const char* name : {"calibrate", "plan", "export", "verify", "eval"}) {
    const Outcome refused = yopo(std::string(name) + " --model m --set seed=1");
    EXPECT_EQ(refused.code, 2) << name;
    EXPECT_TRUE(holds(refused.text, "--set changes a recipe, and none is given")) << refused.text;
  }
  // What does go with a recipe: the recipe is looked for.
  for (const char* arguments :
       {"calibrate r.yaml --output s.h5 --set seed=1 --threads 1 --memory 1GB --quiet",
        "plan r.yaml --stats s.h5 --output p.json", "export r.yaml --plan p.json --output o",
        "calibrate r.yaml --template t", "verify r.yaml --template t", "eval r.yaml --template t"}) {
    const Outcome missing = yopo(arguments);
    EXPECT_TRUE(holds(missing.text, "cannot open r.yaml")) << missing.text;
  }
}

TEST(Command, MessagesNameTheFlagAsItWasTyped) {
  const std::string ask = "generate --model m --prompt p ", calibrate = "calibrate --model m --questions q --output o ";
  const std::string root = std::string(YOPO_SOURCE_DIR) + "/examples/digitgrid/";
  const std::string plan = "plan --random 0 --output p.json --model " + root + "model ",
                    eval = "eval --questions q --answers a ";
  const std::pair<std::string, std::string> cases[] = {
      {ask + "--top-p 1.5", "--top-p: expected a number above 0, at most 1, found 1.5"},
      {ask + "--top-p nan", "--top-p: expected a number above 0"},
      {ask + "--temperature -1", "--temperature: expected 0 (greedy) to 1e6"},
      {ask + "--top-k -1", "--top-k: expected a whole number of at least 0; found '-1'"},
      {ask + "--seed -1", "--seed: expected a whole number of at least 0; found '-1'"},
      {ask + "--seed x", "--seed: expected a whole number of at least 0; found 'x'"},
      {ask + "--max-new-tokens 0", "--max-new-tokens: expected a whole number from 1 to 1048576; found '0'"},
      {ask + "--threads 5000", "--threads: expected a whole number from 0 to 4096; found '5000'"},
      {ask + "--device gpu", "--device: expected one of auto, cpu, cuda; found 'gpu'; did you mean 'cuda'?"},
      {ask + "--dtype fp8", "--dtype: expected one of auto, fp32, bf16, fp16"},
      {calibrate + "--samples -1", "--samples: expected 0 (all) or more; found '-1'"},
      {calibrate + "--samples 1.5", "--samples: expected a whole number; found '1.5'"},
      {calibrate + "--format json", "--format: expected one of llava, conversations; found 'json'"},
      {"random --config c --output o --dtype auto", "--dtype: expected one of fp32"},
      {"trace --model m --inputs i --output o --engine troch",
       "--engine: expected one of torch, runtime; found 'troch'"},
      {"bench --text 0", "--text: expected a whole number of at least 1; found '0'"},
      {"plan --random -1", "--random: expected a whole number of at least 0; found '-1'"},
      {plan + "--visual-layers 12", "yopo: plan: --visual-layers: 12 layers are above the 11 that the model has"},
      {plan + "--heads-keep 9", "yopo: plan: --heads-keep: 9 heads are above the 8 that a layer has"},
      {plan + "--updates-keep 9 --updates-scope layer", "yopo: plan: --updates-keep: 9 heads are above the 8"},
      {plan + "--ffn-keep 385", "yopo: plan: --ffn-keep: 385 neurons are above the 384"},
      {plan + "--heads-keep 1 --exempt-layers 12", "yopo: plan: --exempt-layers: 12 is out of range"},
      {"headmask --stats s --output o --keep 1 --threshold 1", "needs exactly one of --keep and --threshold\n"},
      {eval + "--benchmark vqaa", "--benchmark: expected one of"},
      {eval + "--benchmark pope --protocol lmm", "--protocol: expected one of llava, lmms; found 'lmm'; did you mean"},
      {eval + "--rule letter", "--rule: benchmark vqa has none to choose; found 'letter'"},
      {eval + "--reference=llava-1.5-7", "--reference: expected one of"},
      {eval + "--batch-size 0", "--batch-size: expected a whole number from 1 to 65536; found '0'"},
  };
  for (const auto& [arguments, part] : cases) {
    const Outcome refused = yopo(arguments);
    EXPECT_EQ(refused.code, 2) << arguments;
    EXPECT_TRUE(holds(refused.text, part)) << arguments << "\n" << refused.text;
    EXPECT_FALSE(holds(refused.text, "did you mean '--")) << "the flag is known: " << refused.text;
  }
}

TEST(Command, MemoryIsOfferedWhereAModelRuns) {
  for (const char* name : {"run", "calibrate", "plan", "verify", "eval", "generate", "trace", "bench"})
    EXPECT_TRUE(holds(yopo(std::string(name) + " --help").text, "--memory")) << name;
  for (const char* name : {"export", "inspect", "merge", "headmask", "random", "report", "options"}) {
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
  EXPECT_TRUE(holds(bad.text, "--top-p")) << bad.text;
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
