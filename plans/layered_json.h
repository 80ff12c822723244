// JSON text of objects that hold one array a layer: a layer a line, so that plans diff and read well.
#pragma once

#include <string>

#include "core/json.h"

namespace yopo {

/// `object` with one member a line; of arrays that hold arrays, one element a line; other arrays and objects of
/// one or two plain members on one line; larger objects indented by two spaces more. Every line after the first starts
/// with `indent` spaces. No final newline. The same value gives the same text.
std::string layered_text(const Json& object, int indent = 0);

}  // namespace yopo
