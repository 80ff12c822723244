// A family of models as one record: everything that depends on which family a checkpoint belongs to. Each is defined in
// models/families/NAME.cpp and listed in models/families/registry.cpp; nothing else asks for a family by its name.
#pragma once

#include <string>
#include <vector>

#include "core/known_keys.h"
#include "images/spec.h"
#include "models/prompt_template.h"
#include "models/spec.h"
#include "models/tensors.h"

namespace yopo {

/// One way in which a family's checkpoints name their tensors.
struct TensorLayout {
  std::string name;
  std::vector<TensorName> names;
  std::string decoder, head, vision, projector;  // what stands in front of the names of each part
  /// Where a checkpoint may keep its tower in a folder of its own: the key of config.json that names the folder, and
  /// what the tower's own names begin with (`vision` ends with it). Empty: the tower is always embedded.
  std::string tower_key = "", tower_prefix = "";
  /// A file of torch.save that holds the projector where the checkpoint's shards do not; empty: there is none.
  std::string projector_file = "";
  /// What stands in front of what belongs to no part.
  std::string root = "";
};

struct Family {
  std::string name;
  std::vector<std::string> architectures;  // config.json: architectures[0]
  std::vector<std::string> model_types;    // config.json: model_type, where it is given
  std::string text_key, vision_key;        // objects of config.json with the sizes of decoder and tower; may be absent
  std::vector<TensorLayout> layouts;
  std::vector<PromptTemplate> templates;
  /// config.json to a spec with `layout` set; absent keys take the defaults of the reference's class. family,
  /// architecture and model_type are filled in by the caller. UserError naming `where` for what is not supported.
  ModelSpec (*read_config)(const Json& config, const std::string& where);
  /// Adds what needs the checkpoint: layout, dtype, special tokens, image rules, a separate tower.
  void (*locate)(const Checkpoint& checkpoint, ModelSpec& spec);
  /// Image rules from the object that says them (null: there is no such file) for a tower of these sizes.
  ImageSpec (*read_images)(const Json& rules, const std::string& where, const VisionSpec& vision);
  /// The template that a checkpoint folder asks for: one of `templates`, or its own. UserError for one that is not
  /// known or cannot be run.
  PromptTemplate (*choose_template)(const fs::path& folder, const ModelSpec& spec);
  /// What its readers make of the keys of their objects, for the documentation.
  std::vector<const KeyReader*> readers = {};
};

/// All records: those of models/families/, then those registered.
const std::vector<const Family*>& families();

/// Adds a record, which must outlive the program's use of it. Call before anything else is asked of models: not safe
/// beside other calls. InternalError for a name or an architecture that another record has.
void register_family(const Family& family);

/// The record of that name; InternalError if there is none.
const Family& family_named(const std::string& name);
/// The record that a config.json belongs to. UserError naming `where` for an architecture that no record names, with
/// those known, and for a model_type that is another family's.
const Family& family_of_config(const Json& config, const std::string& where);

inline const Family& family_of(const ModelSpec& spec) { return family_named(spec.family); }
/// The spec's layout among those of its family; InternalError if it has none of that name.
const TensorLayout& layout_of(const ModelSpec& spec);

}  // namespace yopo
