// Any text as config.json, and behind lines "===" preprocessor_config.json, chat_template.json and
// processor_config.json: either a UserError, or a spec that the forwards compute and whose picture of any size becomes
// patches.
#include <cstdlib>

#include "formats/checkpoint.h"
#include "images/processor.h"
#include "models/chat_template.h"
#include "models/spec.h"
#include "tests/fuzz/fuzz_files.h"

namespace {

/// A checkpoint needs weights; which does not matter here.
void write_weights(const yopo::fuzz::Folder& folder) {
  const std::string header = R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = char(uint64_t(header.size()) >> (8 * i));
  folder.write("model.safetensors", bytes + header + std::string(4, '\0'));
}

/// Whether a picture of these rules takes no more than a moment.
bool is_small(const yopo::ImageSpec& image) {
  return image.resize <= 512 && image.crop_height <= 512 && image.crop_width <= 512 && image.tile_size <= 128 &&
         image.max_tiles <= 20 && image.max_pixels <= 1 << 18;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace yopo;
  const auto parts = fuzz::parts_of(fuzz::text_of(data, size), 4);
  const fuzz::Folder& folder = fuzz::folder();
  static const bool once = (write_weights(folder), true);
  (void)once;
  folder.write("config.json", parts[0]);
  for (const auto& [name, text] : {std::pair("preprocessor_config.json", parts[1]),
                                   {"chat_template.json", parts[2]},
                                   {"processor_config.json", parts[3]}}) {
    fs::remove(folder.path() / name);
    if (text.size() > 1) folder.write(name, text);  // a part before others ends with its line
  }
  fuzz::refused_or([&] { spec_from_config(parse_json(parts[0], "config.json"), "config.json"); });
  fuzz::refused_or([&] {
    const ModelSpec spec = read_spec(Checkpoint::open(folder.path()));
    if (spec.text.num_hidden_layers <= 0 || spec.text.num_attention_heads % spec.text.num_key_value_heads != 0)
      std::abort();
    const Image picture{40, 30, std::vector<uint8_t>(40 * 30 * 3, 100)};
    if (is_small(spec.image) && process_pixels(spec.image, picture).values.empty()) std::abort();
  });
  fuzz::refused_or([&] {
    const auto found = find_chat_template(folder.path());
    if (!found) return;
    const ChatWriter writer(*found, folder.path(), "<image>", "<image>");
    if (writer.write("Is it so?", 1).find("Is it so?") == std::string::npos) std::abort();
  });
  return 0;
}
