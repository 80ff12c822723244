// Fingerprints: XXH3 with 128 bits. Fast enough for whole checkpoints; not meant to withstand forgery.
#include <xxhash.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"

namespace yopo {

struct Fingerprint::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

Fingerprint::Fingerprint() : state_(std::make_unique<State>()) {
  ensure(state_->xxh != nullptr, "no memory for a hash state");
  XXH3_128bits_reset(state_->xxh);
}
Fingerprint::~Fingerprint() = default;

Fingerprint& Fingerprint::add(std::span<const std::byte> bytes) {
  if (!bytes.empty()) XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size());
  return *this;
}

Fingerprint& Fingerprint::add(std::string_view text) {
  // Little-endian whatever the machine, so that fingerprints travel.
  std::byte length[8];
  for (int i = 0; i < 8; ++i) length[i] = std::byte(uint64_t(text.size()) >> (8 * i));
  add(std::span<const std::byte>(length));
  return add(std::as_bytes(std::span(text.data(), text.size())));
}

Fingerprint& Fingerprint::add_file(const fs::path& path) {
  constexpr size_t kStep = size_t(64) << 20;
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  std::byte length[8];
  for (int i = 0; i < 8; ++i) length[i] = std::byte(uint64_t(bytes.size()) >> (8 * i));
  add(std::span<const std::byte>(length));
  for (size_t at = 0; at < bytes.size(); at += kStep) {
    const size_t step = std::min(kStep, bytes.size() - at);
    add(bytes.subspan(at, step));
    file->drop(at, step);
  }
  return *this;
}

std::string Fingerprint::hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->xxh);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace yopo
