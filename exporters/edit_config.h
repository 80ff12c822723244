// Changes to a config.json that make it the config of a smaller or otherwise typed model of the same family.
#pragma once

#include "core/dtype.h"
#include "core/json.h"
#include "models/family.h"

namespace yopo {

/// Keeps the first `layers` decoder layers: the count and what else config.json says layer by layer, in the
/// object where the family has its decoder (Family::text_key), or the config itself where that is not there.
void cut_layers(Json& config, const Family& family, int64_t layers);

/// The type that config.json gives for its tensors (`torch_dtype`, from transformers 5 on `dtype`); BF16 where it gives
/// none. UserError naming `where` for a type that is not fp32, fp16 or bf16.
DType stored_type(const Json& config, const std::string& where);

/// Writes the type (F32, F16 or BF16) in place of every one that the config and its parts give.
void set_stored_type(Json& config, const Family& family, DType dtype);

}  // namespace yopo
