// Keys that transformers writes into configs of every kind.
#pragma once

#include "core/known_keys.h"

namespace yopo {

/// Of PretrainedConfig, at the root of config.json and in its objects. An object that says more by one of them than
/// here lists it again behind these.
const KnownKeys& config_keys();
/// The same as a reader, for the table.
const KeyReader& common_reader();
/// Those that the root of config.json is found by.
KnownKeys root_keys();
/// Of a decoder: sizes, rope, ids (models/families/parts.h read_decoder, read_rope, read_special_ids).
const KnownKeys& decoder_keys();
/// The object that says the rotary embedding.
const KeyReader& rope_reader();
/// What every image processor writes.
const KnownKeys& image_processor_keys();
/// processor_config.json.
const KeyReader& processor_reader();
/// generation_config.json.
const KeyReader& generation_reader();

}  // namespace yopo
