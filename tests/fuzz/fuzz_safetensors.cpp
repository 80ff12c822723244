// Any bytes as a safetensors file: either a UserError or tensors whose every byte can be read.
#include <cstdlib>

#include "core/error.h"
#include "formats/checkpoint.h"

namespace {

/// Reads a tensor in each way the library offers; the sanitizers see any step outside it.
void read_all(const yopo::TensorView& view, const std::string& name) {
  if (view.bytes.size() != size_t(view.count()) * size_of(view.dtype)) std::abort();
  if (!view.bytes.empty() && reinterpret_cast<uintptr_t>(view.bytes.data()) % size_of(view.dtype) != 0) std::abort();
  try {
    check_finite(view, name, "fuzz.safetensors");
  } catch (const yopo::UserError&) {
  }
  size_t read = 0;
  try {
    read = view.floats().size();
  } catch (const yopo::UserError&) {
    read = view.ints().size();
  }
  if (read != size_t(view.count())) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto bytes = std::as_bytes(std::span(data, size));
    const auto file = yopo::SafetensorsFile::parse(yopo::MappedFile::copy_of(bytes, "fuzz.safetensors"));
    size_t total = 0;
    for (const auto& [name, view] : file.tensors()) {
      read_all(view, name);
      total += view.bytes.size();
    }
    if (total > size || file.names().size() != file.tensors().size()) std::abort();
    try {
      file.at("no such tensor");
    } catch (const yopo::UserError&) {
    }
  } catch (const yopo::UserError&) {
  }
  return 0;
}
