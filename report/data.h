// What a report shows, free of file formats. What a folder lacks is absent here, and the page says which command makes
// it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/json.h"

namespace yopo {

enum class HeadUse { Dropped, Read, Updated };

struct KeptLayer {
  bool alive = true;
  std::vector<HeadUse> heads;
  int64_t neurons = -1;  // -1: all of a number that the files do not tell
  std::string window;    // "3 causal"; "": none
  int64_t rank = -1;     // of the compensation; -1: none
};

/// Mean FLOPs of a prompt that visual tokens cause, exact convention.
struct FlopParts {
  double projections = 0, attention = 0, ffn = 0, compensation = 0;
  double sum() const { return projections + attention + ffn + compensation; }
};

/// A plan that was measured: `flops` is its share of the dense visual FLOPs.
struct MeasuredPlan {
  double flops = 0, loss = 0, kl = 0;
  bool all_samples = true;
};

/// What raising one layer's rank alone did to the loss, by the best pair of plans that a search measured.
struct RankGain {
  int64_t layer = 0, from = 0, to = 0;
  double before = 0, after = 0;
};

/// How far visual rows are from the dense model's behind a layer, as a share of those, without and with its map.
struct StreamError {
  double without = 0, with = 0;
};

struct ControlScore {
  std::string benchmark;
  double score = 0, kept = 0, low = 0, high = 0;
};
struct Control {
  std::string name, note;
  double flops = 0;
  std::optional<double> kl;
  std::vector<ControlScore> scores;
};

struct ScoreRow {
  std::string benchmark, headline;
  int64_t count = 0;
  bool points = false;
  double dense = 0, pruned = 0;
  std::optional<double> low, high;  // 95 % interval of the difference
  int64_t changed = 0;              // answers whose text differs
};

/// A budget of an elastic checkpoint.
struct BudgetRow {
  std::string budget;
  bool fallback = false;
  std::optional<double> flops;   // share of the prompts searched on
  std::vector<ScoreRow> scores;  // by benchmark
};

struct ShownFlip {
  std::string benchmark, id, question, expected, before, after;
  bool lost = true;              // right before, wrong after
  std::vector<std::byte> image;  // a PNG; empty: none
  int64_t width = 0, height = 0;
};

struct ReportData {
  std::string folder, recipe;     // the resolved recipe's text
  std::string model, prompts;     // of which prompts the FLOPs are
  std::string budget, budget_of;  // as the recipe says it, and what is spent; "": none
  std::optional<double> counted;  // share of the dense visual FLOPs
  int64_t all_heads = 0, all_neurons = 0;
  std::vector<std::vector<double>> ratio;  // [L][H]
  std::vector<KeptLayer> layers;
  std::vector<FlopParts> dense, pruned;  // by layer
  std::vector<MeasuredPlan> search, sweep;
  std::vector<RankGain> gains;
  std::vector<StreamError> errors;  // by layer; empty: the plan does not tell
  std::vector<Control> controls;
  std::vector<ScoreRow> scores;
  std::vector<BudgetRow> budgets;  // of several, the largest first
  std::vector<ShownFlip> flips;
  Json comparison, verify, plan_provenance, export_provenance;  // null: not there
  std::string statistics_fingerprint;
  int64_t statistics_samples = 0;
  std::vector<std::string> notes;  // what could not be read outside of the folder
};

/// Everything that the folder of a run tells. UserError where nothing of a run is there, and naming file and place for
/// a damaged file in it.
ReportData read_report(const fs::path& folder);
/// Reads search.jsonl: `cost` gives the share of the FLOPs of layers "heads.updates.neurons.window.rank", for each five
/// numbers; a last line without its end is left out.
using LevelCounts = std::vector<std::vector<int64_t>>;
void read_search(const fs::path& file, double (*cost)(const LevelCounts&, const void*), const void* with,
                 ReportData& into);
void read_controls(const fs::path& file, ReportData& into);
void read_sweep(const fs::path& file, ReportData& into);

/// One self-contained page: no script, no reference to anything outside. The same data give the same bytes.
std::string report_page(const ReportData& data);
/// The page's charts as SVG files of their own, by name: "heads", "accuracy-vqa". No two have the same.
struct ReportPicture {
  std::string name, svg;
};
std::vector<ReportPicture> report_pictures(const ReportData& data);
/// Foreign text made fit for HTML text and quoted attributes: what is not UTF-8 or would be obeyed is shown as its
/// escape, markup as itself. Long texts are cut.
std::string html_text(std::string_view text, size_t most = 600);

}  // namespace yopo
