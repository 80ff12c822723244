// What is made of the keys of a tokenizer's files.
#pragma once

#include "core/known_keys.h"

namespace yopo {

/// tokenizer_config.json.
const KeyReader& tokenizer_config_reader();
/// The root of tokenizer.json; its parts refuse by themselves what they do not know.
const KeyReader& tokenizer_reader();

}  // namespace yopo
