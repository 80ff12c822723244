#include "exporters/export.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>

#include "core/error.h"
#include "core/progress.h"
#include "core/version.h"
#include "exporters/background_writer.h"
#include "exporters/companions.h"
#include "exporters/permute.h"
#include "exporters/shards.h"
#include "exporters/staging.h"
#include "exporters/transformers_code.h"
#include "models/family.h"
#include "plans/compensation.h"
#include "plans/layered_json.h"
#include "plans/order.h"
#include "plans/provenance.h"
#include "plans/pruned_config.h"

namespace yopo {
namespace {

// Where an export keeps a separate vision tower, and what its config.json says.
constexpr std::string_view tower_name = "vision_tower";

// The source's keys in their order, then "yopo" with a layer a line.
std::string config_text(const OpenModel& model, Json config, const Json& yopo) {
  if (!model.spec.vision_folder.empty()) config[layout_of(model.spec).tower_key] = tower_name;
  config.erase("yopo");
  std::string text = config.dump(2);
  ensure(text.ends_with("\n}"), "a config with keys");
  text.resize(text.size() - 2);
  return text + ",\n  \"yopo\": " + layered_text(yopo, 2) + "\n}\n";
}

Json provenance_of(const OpenModel& model, const std::string& plan, const Json& made_by, const ExportOptions& options) {
  Json provenance = Json::object();
  provenance["tool"] = fmt::format("yopo {}", tool_version);
  provenance["checkpoint"] = model.checkpoint.fingerprint();
  provenance["plan"] = plan;
  provenance["shard_size"] = options.shard_size;
  if (options.transformers_code) provenance["transformers_code"] = transformers_code_fingerprint();
  provenance["made_by"] = made_by;
  return provenance;
}

// Whether `output` already is the export that `provenance` stands for. UserError if it is anything else.
bool already_done(const fs::path& output, const Json& provenance) {
  std::error_code code;
  if (!fs::exists(fs::symlink_status(output, code))) return false;
  const bool folder = fs::is_directory(output, code);
  require(folder, "{}: exists and is no folder{}", output.string(), code ? ": " + code.message() : "");
  const bool empty = fs::is_empty(output, code);
  if (code) fail("cannot read {}: {}", output.string(), code.message());
  if (empty) return false;
  const std::string advice = "remove it or choose another name";
  require(fs::exists(output / "config.json", code), "{}: exists and is no exported checkpoint; {}", output.string(),
          advice);
  const Json config = read_json(output / "config.json");
  const bool ours = config.is_object() && has(config, "yopo") && config["yopo"].is_object();
  require(ours, "{}: exists and is no exported checkpoint; {}", output.string(), advice);
  const Json found = config["yopo"].value("provenance", Json::object());
  if (found == provenance) {
    (void)Checkpoint::open(output);
    return true;
  }
  std::string differs;
  const auto add = [&](const std::string& key) { differs += (differs.empty() ? "" : ", ") + key; };
  for (const auto& [key, value] : provenance.items())
    if (key != "made_by" && (!found.is_object() || !found.contains(key) || found[key] != value))  // the plan says it
      add(key);
  if (found.is_object())
    for (const auto& [key, value] : found.items())
      if (!provenance.contains(key)) add(printable(key));
  fail("{}: exists and is an export of other inputs (other {}); {}", output.string(), differs, advice);
}

struct SlotOrders {
  BlockOrder rows, columns;
};

BlockOrder order_of(Axis axis, int64_t dimension, const LayerOrder& order) {
  BlockOrder result;
  switch (axis) {
    case Axis::Fixed:
      return result;
    case Axis::QueryHeads:
      result.order = order.heads;
      break;
    case Axis::KeyValueHeads:
      result.order = order.kv_heads;
      break;
    case Axis::Neurons:
      result.order = order.neurons;
      break;
  }
  ensure(dimension % int64_t(result.order.size()) == 0, "a permuted dimension is a whole number of blocks");
  result.block = dimension / int64_t(result.order.size());
  return result;
}

// The order of a stored tensor's rows when the roles that share it are each in `order`.
BlockOrder shared_order(const std::vector<const TensorSlot*>& roles, const LayerOrder& order) {
  BlockOrder all;
  all.block = 1;
  all.order.resize(size_t(roles.front()->stored.at(0)));
  std::iota(all.order.begin(), all.order.end(), int64_t(0));
  for (const TensorSlot* role : roles) {
    const BlockOrder own = order_of(role->rows, role->shape.at(0), order);
    for (size_t i = 0; i < own.order.size(); ++i)
      for (int64_t j = 0; j < own.block; ++j)
        all.order[size_t(role->part.row(int64_t(i) * own.block + j))] = role->part.row(own.order[i] * own.block + j);
  }
  return all;
}

// The permuted tensors by name; every other tensor of the checkpoint is copied as it is.
std::map<std::string, SlotOrders> orders_by_name(const ModelSpec& spec, const std::vector<LayerOrder>& orders) {
  const std::vector<TensorSlot> table = tensor_table(spec);
  std::map<std::string, std::vector<const TensorSlot*>> permuted;
  for (const TensorSlot& slot : table)
    if (slot.rows != Axis::Fixed || slot.columns != Axis::Fixed) permuted[slot.name].push_back(&slot);
  std::map<std::string, SlotOrders> by_name;
  for (const auto& [name, roles] : permuted) {
    const TensorSlot& slot = *roles.front();
    const LayerOrder& order = orders.at(size_t(slot.layer));
    SlotOrders& found = by_name[name];
    if (!slot.part.whole()) {
      found.rows = shared_order(roles, order);
      continue;
    }
    ensure(roles.size() == 1, "a whole tensor has one permuted role");
    if (slot.rows != Axis::Fixed) found.rows = order_of(slot.rows, slot.shape.at(0), order);
    if (slot.columns != Axis::Fixed) found.columns = order_of(slot.columns, slot.shape.at(1), order);
  }
  return by_name;
}

void write_shard(const Checkpoint& checkpoint, const OutputShard& shard,
                 const std::map<std::string, SlotOrders>& orders, const fs::path& folder, const Sink& count) {
  std::vector<TensorDeclaration> declared;
  for (const std::string& name : shard.names) {
    const TensorView& tensor = checkpoint.at(name);
    declared.push_back({name, tensor.dtype, tensor.shape});
  }
  // transformers refuses files without this entry.
  SafetensorsWriter writer(folder / shard.file, declared, {{"format", "pt"}});
  BackgroundWriter background([&](const void* data, size_t size) { writer.append(data, size); });
  const Sink sink = [&](const void* data, size_t size) {
    background.append(data, size);
    count(data, size);
  };
  for (size_t i = 0; i < shard.names.size(); ++i) {
    const std::string& name = shard.names[i];
    if (i + 1 < shard.names.size()) prefetch(checkpoint.at(shard.names[i + 1]));
    const auto found = orders.find(name);
    const BlockOrder* rows = found != orders.end() && !found->second.rows.order.empty() ? &found->second.rows : nullptr;
    const BlockOrder* columns =
        found != orders.end() && !found->second.columns.order.empty() ? &found->second.columns : nullptr;
    stream_permuted(checkpoint.at(name), name, rows, columns, sink);
  }
  background.finish();
  writer.finish();
}

void write_shards(const Checkpoint& checkpoint, const std::vector<OutputShard>& shards,
                  const std::map<std::string, SlotOrders>& orders, const fs::path& folder, const Sink& count) {
  for (const OutputShard& shard : shards) write_shard(checkpoint, shard, orders, folder, count);
  if (shards.size() > 1) write_text(folder / "model.safetensors.index.json", index_text(shards));
}

// What is written anew.
std::vector<fs::path> weight_files(const Checkpoint& checkpoint) {
  std::vector<fs::path> files;
  for (const Checkpoint::Shard& shard : checkpoint.shards()) files.push_back(checkpoint.folder() / shard.file);
  for (const char* index : {"model.safetensors.index.json", "pytorch_model.bin.index.json"})
    files.push_back(checkpoint.folder() / index);
  return files;
}

// The separate tower as it is: all its shards, index, config and processor files. One of torch.save becomes
// safetensors, as everything else here.
Companions copy_tower(const fs::path& from, const fs::path& to) {
  const Checkpoint tower = Checkpoint::open(from);
  const std::string index = "model.safetensors.index.json";
  const auto is_torch = [](const Checkpoint::Shard& shard) { return shard.file.ends_with(".bin"); };
  if (std::any_of(tower.shards().begin(), tower.shards().end(), is_torch)) {
    write_shards(tower, plan_shards(tower, 0), {}, to, [](const void*, size_t) {});
  } else {
    for (const auto& [name, tensor] : tower.tensors()) check_finite(tensor, name, tensor.file->path());
    for (const Checkpoint::Shard& shard : tower.shards())
      copy_bytes(inside(from, shard.file, from.string()), inside(to, shard.file, from.string()));
    if (!fs::exists(to / "model.safetensors")) copy_bytes(from / index, to / index);
  }
  copy_bytes(from / "config.json", to / "config.json");
  return copy_companions(from, to, weight_files(tower));
}

// What was copied beside the weights, and what was not.
void tell(const Companions& companions) {
  std::string line = fmt::format("copied beside the weights: {} files", companions.copied.size());
  for (const std::string& name : companions.derived) line += fmt::format("; {} made from processor_config.json", name);
  note(line);
  constexpr size_t kShown = 30;
  for (size_t i = 0; i < std::min(kShown, companions.left_out.size()); ++i)
    note(fmt::format("not copied: {} ({})", printable(companions.left_out[i].path), companions.left_out[i].why));
  if (companions.left_out.size() > kShown)
    note(fmt::format("not copied: {} more", companions.left_out.size() - kShown));
}

/// What the folder gets besides what is copied.
struct Export {
  std::vector<LayerOrder> orders;
  Json yopo;
  std::function<void(const fs::path& file)> write_vectors;  // of the compensation; empty: there is none
};

Companions write_export(const OpenModel& model, const Export& what, const fs::path& output,
                        const ExportOptions& options) {
  const Checkpoint& checkpoint = model.checkpoint;
  if (options.transformers_code) check_transformers_code(checkpoint.config(), checkpoint.folder().string());
  if (already_done(output, what.yopo.at("provenance"))) {
    note(fmt::format("{}: already exported from the same inputs", output.string()));
    return {};
  }

  const std::vector<OutputShard> shards = plan_shards(checkpoint, options.shard_size);
  const auto by_name = orders_by_name(model.spec, what.orders);
  uint64_t total = 0;
  for (const OutputShard& shard : shards) total += shard.bytes;
  constexpr uint64_t unit = 1'000'000;
  Progress progress("export", int64_t(total / unit), "MB");
  uint64_t written = 0;
  const Sink count = [&](const void*, size_t size) {
    const uint64_t before = written / unit;
    written += size;
    progress.tick(int64_t(written / unit - before));
  };

  StagingFolder staging(output);
  Json config = checkpoint.config();
  if (options.transformers_code) add_transformers_code(config, staging.path());
  write_shards(checkpoint, shards, by_name, staging.path(), count);
  Companions tower;
  if (!model.spec.vision_folder.empty()) tower = copy_tower(model.spec.vision_folder, staging.path() / tower_name);
  std::vector<fs::path> except = weight_files(checkpoint);
  except.insert(except.end(), {model.spec.vision_folder, output, staging.path()});
  Companions companions = copy_companions(checkpoint.folder(), staging.path(), except);
  for (const std::string& file : tower.copied) companions.copied.push_back((fs::path(tower_name) / file).string());
  for (const LeftOut& one : tower.left_out)
    companions.left_out.push_back({(fs::path(tower_name) / one.path).string(), one.why});
  if (derive_preprocessor(staging.path())) companions.derived.push_back("preprocessor_config.json");
  if (what.write_vectors) what.write_vectors(staging.path() / compensation_name);
  write_text(staging.path() / "config.json", config_text(model, std::move(config), what.yopo));
  staging.publish();
  progress.finish();
  tell(companions);
  return companions;
}

void check_plan_of(const OpenModel& model, const Plan& plan, const std::string& where) {
  check_exportable(model.checkpoint.config(), model.checkpoint.folder().string(), plan.semantics);
  check_plan(plan, model.spec.text, where);
  check_made_for(plan, model.checkpoint, model.spec.text, where);
}

}  // namespace

void check_exportable(const Json& config, const std::string& where, Semantics semantics) {
  require(!has(config, "yopo"),
          "{}: is an exported checkpoint already, its layers reordered; a plan refers to the original's order: export "
          "from that",
          where);
  require(
      semantics == Semantics::Skip,
      "export: the plan's semantics is '{}'; only 'skip' plans can be exported, the others simulate published masks",
      name_of(semantics));
}

Companions export_checkpoint(const OpenModel& model, const Plan& plan, const fs::path& output,
                             const ExportOptions& options) {
  const DecoderSpec& spec = model.spec.text;
  check_plan_of(model, plan, "export");
  Export what;
  what.orders = orders_of(plan, spec);
  Plan reordered = reorder_plan(plan, spec, what.orders);
  reordered.provenance =
      provenance_of(model, Fingerprint().add(plan_to_json(plan).dump()).hex(), plan.provenance, options);
  what.yopo = pruned_config(reordered, spec);
  if (is_compensated(reordered))
    what.write_vectors = [&](const fs::path& file) { write_compensation(file, reordered); };
  return write_export(model, what, output, options);
}

Companions export_elastic(const OpenModel& model, std::vector<BudgetPlan> plans, const std::string& fallback,
                          const fs::path& output, const ExportOptions& options) {
  const DecoderSpec& spec = model.spec.text;
  std::sort(plans.begin(), plans.end(),
            [](const BudgetPlan& a, const BudgetPlan& b) { return larger_budget(a.budget, b.budget); });
  (void)pick_budget(names_of(plans), fallback, "export");
  Fingerprint all;
  all.add(fallback);
  Json made_by = Json::object();
  for (BudgetPlan& one : plans) {
    check_plan_of(model, one.plan, fmt::format("export: budget {}", one.budget));
    require(!made_by.contains(one.budget), "export: two plans for budget {}", one.budget);
    all.add(one.budget).add(plan_to_json(one.plan).dump());
    made_by[one.budget] = one.plan.provenance;
    // Where visual tokens do not exist, a plan's sets say nothing: they need no place in the common order.
    const Plan dense = dense_plan(spec);
    for (size_t l = 0; l < one.plan.layers.size(); ++l) {
      if (one.plan.layers[l].alive) continue;
      one.plan.layers[l] = dense.layers[l];
      one.plan.layers[l].alive = false;
    }
  }
  Export what;
  what.orders = common_orders(plans, spec, "export");
  bool compensated = false;
  for (BudgetPlan& one : plans) {
    one.plan = reorder_plan(one.plan, spec, what.orders);
    compensated = compensated || is_compensated(one.plan);
  }
  what.yopo = elastic_config(plans, fallback, spec, provenance_of(model, all.hex(), made_by, options));
  if (compensated) what.write_vectors = [&](const fs::path& file) { write_compensation(file, plans); };
  return write_export(model, what, output, options);
}

}  // namespace yopo
