#include <gtest/gtest.h>

#include "formats/base64.h"
#include "images/codecs.h"
#include "report/data.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

ReportData small() {
  ReportData data;
  data.folder = "small";
  data.all_heads = 2, data.all_neurons = 8;
  data.ratio = {{0.5, 1.0}, {0.25, 0.75}};
  data.layers = {{true, {HeadUse::Updated, HeadUse::Read}, 4, "3 causal", 8},
                 {false, {HeadUse::Dropped, HeadUse::Dropped}, 0}};
  data.dense = {{4e6, 2e6, 6e6, 0}, {4e6, 2e6, 6e6, 0}};
  data.pruned = {{1e6, 1e6, 3e6, 1e6}, {0, 0, 0, 0}};
  data.prompts = "one prompt";
  return data;
}

bool holds(const std::string& page, std::string_view part) { return page.find(part) != std::string::npos; }

TEST(Page, ShowsHostileTextAsText) {
  ReportData data = small();
  ShownFlip flip{"vqa", "7", "<script>alert(1)</script> ]]> \" '", "", "a\x1b[2J\xff", "<img src=x onerror=y>"};
  data.flips = {flip};
  data.recipe = "</pre><script>";
  const std::string page = report_page(data);
  EXPECT_FALSE(holds(page, "<script"));
  EXPECT_FALSE(holds(page, "<img src=x"));
  EXPECT_FALSE(holds(page, "]]>"));
  EXPECT_FALSE(holds(page, "\x1b"));
  EXPECT_FALSE(holds(page, "\xff"));
  EXPECT_TRUE(holds(page, "&lt;script&gt;alert(1)&lt;/script&gt; ]]&gt; &quot; &#39;"));
  EXPECT_TRUE(holds(page, "dense: a\\x1b[2J\\xff"));
}

TEST(Page, CutsLongTextsBetweenCharacters) {
  EXPECT_EQ(html_text("ab\xc3\xa9", 3), "ab...");
  EXPECT_EQ(html_text("ab\xc3\xa9", 4), "ab\xc3\xa9");
}

TEST(Page, ShowsChartsWithTheirNumbers) {
  const std::string page = report_page(small());
  EXPECT_TRUE(
      holds(page, "<tr><th scope=\"row\">0</th><td>4</td><td>2</td><td>1</td><td>3 causal</td><td>8</td></tr>"));
  EXPECT_TRUE(holds(page, "<tr><th scope=\"row\">sum</th><td>24.00</td><td>6.00</td><td>25.0 %</td></tr>"));
  EXPECT_TRUE(holds(page, "layer 1, head 0: ratio 0.25 dropped"));
  EXPECT_TRUE(holds(page, "yopo compare"));
  EXPECT_EQ(page, report_page(small()));
}

TEST(Page, ShowsEveryKindOfChart) {
  ReportData data = small();
  data.counted = 0.25;
  data.search = {{0.2, 0.5, 0.7}, {0.25, 0.1, 0.2}};
  data.plan_provenance = {{"search", {{"kl", 0.15}}}};
  data.controls = {{"solver", "", 0.25, 0.2, {{"a/b", 0.8, 0.9, 0.8, 1.0}}},
                   {"depth", "", 0.2, 2.0, {{"a/b", 0.4, 0.5, 0.4, 0.6}}}};
  data.errors = {{0.5, 0.125}, {}};
  const Json side = {{"kv_bytes", 2000}, {"prefill_flops", 1e6}, {"prefill_ms", 4.0}, {"decode_ms", 0.5}};
  data.comparison = {{"dense", side}, {"pruned", side}};
  data.comparison["pruned"]["prefill_ms"] = 1.0;
  std::vector<std::string> names;
  for (const ReportPicture& picture : report_pictures(data)) {
    names.push_back(picture.name);
    EXPECT_TRUE(picture.svg.starts_with("<svg xmlns")) << picture.name;
    EXPECT_FALSE(holds(picture.svg, "var(")) << "programs that draw know no variables";
  }
  EXPECT_EQ(names, (std::vector<std::string>{"search", "controls", "accuracy-a_b", "controls-a_b", "heads", "neurons",
                                             "flops", "compensation", "ranks", "times"}));
  const std::string page = report_page(data);
  EXPECT_TRUE(holds(page, "<th scope=\"row\">0</th><td>8</td><td>50.0 %</td><td>12.5 %</td><td>75.0 %</td>"));
  EXPECT_TRUE(holds(page, "<td>ms</td><td>4.00</td><td>1.00</td><td>25.0 %</td>"));
  EXPECT_TRUE(holds(page, "depth: 20.0 % of the FLOPs, 50.0 % of the score"));
  EXPECT_FALSE(holds(page, ">-0<"));
  data.controls.clear();
  data.scores = {{"vqa", "score", 10, false, 0.8, 0.6}};
  EXPECT_TRUE(holds(report_page(data), "<th scope=\"row\">vqa</th><td>25.0 %</td><td>75.0 %</td>"));
}

TEST(Page, ShowsEveryBudgetsScores) {
  ReportData data = small();
  const std::string without = report_page(data);
  EXPECT_FALSE(holds(without, "--budget"));
  data.budgets = {{"0.5", false, 0.498, {{"vqa", "mean score", 40, false, 0.8, 0.76}}},
                  {"0.12", true, {}, {{"vqa", "mean score", 40, false, 0.8, 0.4}}}};
  const std::string page = report_page(data);
  EXPECT_TRUE(holds(page, "<tr><th scope=\"row\">0.5</th><td>49.8 %</td><td>76.0 %</td><td>95.0 %</td></tr>"));
  EXPECT_TRUE(holds(page, "<tr><th scope=\"row\">0.12 (default)</th><td>-</td><td>40.0 %</td><td>50.0 %</td></tr>"));
}

TEST(Page, RefersToNothingOutside) {
  ReportData data = small();
  data.flips = {{"vqa", "7", "q", "", "a", "b", true, encode_png(blank_image(3, 2, "")), 3, 2}};
  const std::string page = report_page(data);
  EXPECT_FALSE(holds(page, "http:"));
  EXPECT_FALSE(holds(page, "https:"));
  EXPECT_FALSE(holds(page, "url("));
  EXPECT_FALSE(holds(page, "@import"));
  EXPECT_FALSE(holds(page, "href"));
  for (size_t at = page.find("src="); at != std::string::npos; at = page.find("src=", at + 1))
    EXPECT_EQ(page.substr(at + 5, 22), "data:image/png;base64,");
  EXPECT_TRUE(holds(page, "src=\"data:image/png;base64,iVBOR"));
}

TEST(Read, FindsWhatARankIsWorth) {
  const testing::TemporaryFolder folder;
  testing::write_file(folder / "search.jsonl",
                      "{\"search\":\"f\"}\n"
                      "{\"key\":\"ratio /1 2.0.4.1.-1 2.0.4.1.4\",\"loss\":0.5,\"kl\":0.7,\"same\":1}\n"
                      "{\"key\":\"ratio /1 2.0.4.1.8 2.0.4.1.4\",\"loss\":0.25,\"kl\":0.3,\"same\":1}\n"
                      "{\"key\":\"ratio /8 2.0.4.1.16 2.0.4.1.4\",\"loss\":0.1,\"kl\":0.1,\"same\":1}\n"
                      "{\"key\":\"ratio /8 without reading 0.1 of 2.0.4.1.16\",\"loss\":0.1,\"kl\":0.1,\"same\":1}\n"
                      "{\"key\":\"cut");
  ReportData data = small();
  read_search(
      folder / "search.jsonl", [](const LevelCounts& levels, const void*) { return double(levels[0][4] + 2); }, nullptr,
      data);
  ASSERT_EQ(data.search.size(), 3u);
  EXPECT_EQ(data.search[1].flops, 10);
  EXPECT_FALSE(data.search[2].all_samples);
  ASSERT_EQ(data.gains.size(), 1u);
  EXPECT_EQ(data.gains[0].layer, 0);
  EXPECT_EQ(data.gains[0].from, -1);
  EXPECT_EQ(data.gains[0].to, 8);
  EXPECT_EQ(data.gains[0].before - data.gains[0].after, 0.25);
}

TEST(Read, NamesFileAndPlaceOfDamage) {
  const testing::TemporaryFolder folder;
  ReportData data = small();
  testing::write_file(folder / "search.jsonl", "{\"search\":\"f\"}\n{\"key\":3}\n");
  EXPECT_USER_ERROR(read_search(folder / "search.jsonl", nullptr, nullptr, data), "search.jsonl:2");
  testing::write_file(folder / "c.json", R"({"points": [{"name": "solver", "visual_flops": "x"}]})");
  EXPECT_USER_ERROR(read_controls(folder / "c.json", data), "c.json: points: 0: 'visual_flops' should be a number");
  testing::write_file(folder / "s.json", "{}");
  EXPECT_USER_ERROR(read_sweep(folder / "s.json", data), "s.json: 'points'");
  EXPECT_USER_ERROR(read_report(folder.path()), "nothing of a run is here");
}

TEST(Read, TakesControls) {
  const testing::TemporaryFolder folder;
  testing::write_file(folder / "c.json",
                      R"({"points": [{"name": "random", "seed": 3, "visual_flops": 0.25, "kl": null, "note": "<b>",
      "benchmarks": {"vqa": {"score": 0.5, "kept": 0.6, "interval": [0.45, 0.55]}}},
      {"name": "window", "seed": null, "visual_flops": null, "kl": null, "note": "cannot <be> met", "benchmarks": {}}]})");
  ReportData data = small();
  read_controls(folder / "c.json", data);
  const std::string page = report_page(data);
  EXPECT_TRUE(holds(page,
                    "<th scope=\"row\">random 3</th><td>25.0 %</td><td>0.5000</td><td>60.0 %</td><td "
                    "class=\"words\">54.0 % to 66.0 %</td><td>&lt;b&gt;</td>"));
  EXPECT_TRUE(holds(page, "<li>window: cannot &lt;be&gt; met</li>"));
}

TEST(Base64, EncodesWhatItDecodes) {
  for (const std::string text : {"", "a", "ab", "abc", "abcd"}) {
    const std::string coded = encode_base64(std::as_bytes(std::span(text.data(), text.size())));
    std::string back;
    for (const std::byte byte : decode_base64(coded, "here")) back += char(byte);
    EXPECT_EQ(back, text);
  }
  EXPECT_EQ(encode_base64(std::as_bytes(std::span("abcd", 4))), "YWJjZA==");
}

TEST(Png, ReadsBackAsItWasWritten) {
  Image image = blank_image(5, 3, "");
  for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = uint8_t(i * 37);
  const std::vector<std::byte> file = encode_png(image);
  EXPECT_EQ(decode_png(file, "here").rgb, image.rgb);
}

}  // namespace
}  // namespace yopo
