#include "ranks/deal.h"

#include <cstring>

#include "core/error.h"

namespace yopo {
namespace {

struct DealtHeader {
  uint32_t item, size;
};

}  // namespace

Deal::Deal(RankGroup& ranks, size_t count) : ranks_(ranks), count_(count) {
  const std::string step = ranks.next_step();
  taken_ = step + "/taken", given_ = step + "/given";
}

size_t Deal::take() { return size_t(ranks_.store_->add(taken_, 1) - 1); }

void Deal::give(size_t item, const std::string& bytes) {
  const DealtHeader header{uint32_t(item), uint32_t(bytes.size())};
  std::string record(sizeof header, '\0');
  std::memcpy(record.data(), &header, sizeof header);
  ranks_.store_->append(given_, record + bytes);
}

void Deal::look(const std::function<void(size_t item, const std::string& bytes)>& see) {
  if (seen_ == count_ || !ranks_.store_->has({given_})) return;
  const std::string all = ranks_.store_->get(given_);
  while (read_ < all.size()) {
    DealtHeader header{};
    ensure(all.size() - read_ >= sizeof header, "whole records");
    std::memcpy(&header, all.data() + read_, sizeof header);
    ensure(all.size() - read_ - sizeof header >= header.size && header.item < count_, "whole records");
    see(header.item, all.substr(read_ + sizeof header, header.size));
    read_ += sizeof header + header.size;
    ++seen_;
  }
}

void Deal::finish(const std::function<void(size_t item, const std::string& bytes)>& see) {
  for (std::chrono::microseconds how_long(200); look(see), seen_ < count_;) ranks_.pause(how_long);
}

}  // namespace yopo
