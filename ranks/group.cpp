#include "ranks/group.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "core/error.h"
#include "core/json.h"

namespace yopo {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kPiece = 1 << 20;  // bytes of one value; the store takes 8 MB
constexpr std::chrono::microseconds kShortPause{200}, kLongPause{20'000};
constexpr std::chrono::seconds kHearWithin{5};
constexpr int kOutsideError = 2, kSignalled = 130;  // exit codes
constexpr const char* kFailed = "failed";
constexpr const char* kGone = "its process is gone: killed, perhaps for want of memory";

std::string failure_text(const RankFailure& failure) {
  return fmt::format("{} {} {}", failure.rank, failure.code, failure.message);
}

RankFailure parse_failure(const std::string& text) {
  std::istringstream stream(text);
  RankFailure failure;
  stream >> failure.rank >> failure.code;
  stream.get();
  failure.message.assign(std::istreambuf_iterator<char>(stream), {});
  return failure;
}

/// The first line in which two texts differ, of each.
std::pair<std::string, std::string> first_difference(const std::string& one, const std::string& other) {
  std::istringstream ones(one), others(other);
  std::string line, other_line;
  while (true) {
    const bool more = bool(std::getline(ones, line)), more_others = bool(std::getline(others, other_line));
    if (!more) line = "(nothing)";
    if (!more_others) other_line = "(nothing)";
    if (line != other_line || (!more && !more_others)) return {line, other_line};
  }
}

}  // namespace

RankGroup::RankGroup(const Launcher& launcher, const GroupOptions& options)
    : launcher_(launcher), options_(options), until_(Clock::now() + options.join) {
  ensure(launcher.shared() && launcher.rank < launcher.size, "a group of several ranks");
  hosts_ = leads() && !launcher_.holds_store;
  try {
    if (hosts_) store_ = Store::host(launcher_.port);
    const std::string address = hosts_ ? "localhost" : launcher_.address;
    const int port = hosts_ ? store_->port() : launcher_.port;
    if (!store_) store_ = Store::connect(address, port, until_);
    watching_ = Store::connect(address, port, until_);
    meet();
  } catch (const StoreLost& error) {
    fail("{} did not come within {} s (MASTER_ADDR, MASTER_PORT): {}", name(0),
         std::chrono::duration_cast<std::chrono::seconds>(options_.join).count(), error.what());
  } catch (const UserError& error) {
    if (store_) leave_with(kOutsideError, error.what(), false);
    throw;
  }
  wish_ = std::make_unique<StopWish>([this] { return has_failed_.load(); });
  watcher_ = std::thread([this] { watch(); });
}

RankGroup::~RankGroup() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (watcher_.joinable()) watcher_.join();
}

std::string RankGroup::name(int rank) const { return fmt::format("rank {} of {}", rank, size()); }

bool RankGroup::is_here(int other) const { return members_[size_t(other)].machine == members_[size_t(rank())].machine; }

std::string RankGroup::key(const std::string& name, int number) const {
  return fmt::format("yopo/{}/{}/{}", launcher_.run, name, number);
}

/// Says who this is and waits for the others.
void RankGroup::meet() {
  const std::string own = fmt::format("{} {}", size(), Member::self().text());
  store_->set(key("beat", rank()), "0");
  require(store_->set_once(key("member", rank()), own) == own,
          "{} was started twice: another process has its number (at MASTER_ADDR and MASTER_PORT)", name());
  std::vector<std::string> members, missing;
  for (int k = 0; k < size(); ++k) members.push_back(key("member", k));
  for (std::chrono::microseconds how_long = kShortPause; !store_->has(members); pause(how_long)) {
    if (store_->has({key(kFailed, 0)})) {
      const RankFailure other = parse_failure(store_->get(key(kFailed, 0)));
      store_->set(key("heard", rank()), "");
      throw RankFailed(text(other), other.code);
    }
    if (Clock::now() < until_) continue;
    for (int k = 0; k < size(); ++k)
      if (!store_->has({key("member", k)})) missing.push_back(name(k));
    fail("{} did not come within {} s (YOPO_RANKS_TIMEOUT)", fmt::join(missing, ", "),
         std::chrono::duration_cast<std::chrono::seconds>(options_.join).count());
  }
  const std::vector<std::string> all = store_->get(members);
  std::vector<Member> found;
  for (int k = 0; k < size(); ++k) {
    const size_t space = all[size_t(k)].find(' ');
    const std::string count = all[size_t(k)].substr(0, space);
    require(count == std::to_string(size()), "rank {} was started as one of {}, rank {} as one of {}", k,
            printable(count), rank(), size());
    found.push_back(Member::parse(all[size_t(k)].substr(space + 1)));
  }
  seen_.assign(size_t(size()), {"", Clock::now()});
  members_ = std::move(found);
}

/// Gives signs of life and looks for those of others, beside what the rank computes.
void RankGroup::watch() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    lock.unlock();
    try {
      look(*watching_);
    } catch (const StoreLost&) {
      failed(nullptr, lost());
      return;
    } catch (const std::exception& error) {  // no memory for a message: nothing that ends the work
    }
    lock.lock();
    wake_.wait_for(lock, options_.pulse, [&] { return stop_; });
  }
}

void RankGroup::look(Store& store) {
  const std::lock_guard lock(looking_);
  store.set(key("beat", rank()), std::to_string(++beats_));
  // First who is gone, then what they left: the other way round a rank that ends meanwhile would seem to be killed.
  std::vector<int> gone, silent;
  for (int k = 0; k < size(); ++k)
    if (k != rank() && members_[size_t(k)].gone(members_[size_t(rank())].machine)) gone.push_back(k);
  if (store.has({key(kFailed, 0)})) {
    const RankFailure first = parse_failure(store.get(key(kFailed, 0)));
    if (first.rank != rank()) store.set(key("heard", rank()), "");
    failed(nullptr, first);
    return;
  }
  std::vector<std::string> beats;
  for (int k = 0; k < size(); ++k) beats.push_back(key("beat", k));
  const std::vector<std::string> now = store.get(beats);
  for (int k = 0; k < size(); ++k) {
    auto& [beat, since] = seen_[size_t(k)];
    if (beat != now[size_t(k)]) beat = now[size_t(k)], since = Clock::now();
    if (k != rank() && Clock::now() - since > options_.silence) silent.push_back(k);
  }
  for (const int k : gone)
    if (!store.has({key("left", k)})) failed(&store, {k, kOutsideError, kGone});
  for (const int k : silent)
    if (!store.has({key("left", k)}))
      failed(&store, {k, kOutsideError,
                      fmt::format("it has given no sign of life for {} s",
                                  std::chrono::duration_cast<std::chrono::seconds>(options_.silence).count())});
}

/// What became of rank 0, at which the store is, or near which.
RankFailure RankGroup::lost() const {
  // A process that ends closes its connections a moment before it is seen to be gone.
  const auto gone = [&] { return !members_.empty() && members_[0].gone(members_[size_t(rank())].machine); };
  for (int tries = 0; tries < 20 && !leads() && !gone(); ++tries) std::this_thread::sleep_for(kLongPause);
  return {0, kOutsideError,
          gone() ? kGone : fmt::format("the connection to {}:{} is lost", launcher_.address, launcher_.port)};
}

/// With a store, the others hear of it; the first failure counts.
void RankGroup::failed(Store* store, RankFailure failure) {
  if (store) failure = parse_failure(store->set_once(key(kFailed, 0), failure_text(failure)));
  const std::lock_guard lock(mutex_);
  if (failure_ || left_ || failure.rank == rank()) return;
  failure_ = std::move(failure);
  has_failed_ = true;
}

std::optional<RankFailure> RankGroup::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

std::string RankGroup::text(const RankFailure& failure) const {
  return fmt::format("{} failed: {}", name(failure.rank), failure.message);
}

void RankGroup::throw_failure() const {
  if (const std::optional<RankFailure> other = failure()) throw RankFailed(text(*other), other->code);
}

void RankGroup::pause(std::chrono::microseconds& how_long) const {
  throw_failure();
  check_interrupt();
  std::this_thread::sleep_for(how_long);
  how_long = std::min(how_long * 3 / 2, kLongPause);
}

void RankGroup::wait_for(const std::vector<std::string>& keys) const {
  for (std::chrono::microseconds how_long = kShortPause; !store_->has(keys);) pause(how_long);
}

/// In pieces; the key itself comes last and says how many.
void RankGroup::put(const std::string& key, const std::string& bytes) {
  const size_t pieces = (bytes.size() + kPiece - 1) / kPiece;
  for (size_t i = 0; i < pieces; ++i) store_->set(fmt::format("{}/{}", key, i), bytes.substr(i * kPiece, kPiece));
  store_->set(key, std::to_string(pieces));
}

std::string RankGroup::take(const std::string& key) {
  wait_for({key});
  const size_t pieces = std::stoul(store_->get(key));
  std::string bytes;
  for (size_t i = 0; i < pieces; ++i) bytes += store_->get(fmt::format("{}/{}", key, i));
  return bytes;
}

std::string RankGroup::broadcast(const std::string& bytes) {
  const std::string key = next_step();
  if (!leads()) return take(key);
  put(key, bytes);
  return bytes;
}

std::vector<std::string> RankGroup::gather(const std::string& bytes) {
  const std::string step = next_step();
  put(fmt::format("{}/{}", step, rank()), bytes);
  std::vector<std::string> keys, all;
  for (int k = 0; k < size(); ++k) keys.push_back(fmt::format("{}/{}", step, k));
  wait_for(keys);
  for (const std::string& key : keys) all.push_back(take(key));
  return all;
}

void RankGroup::agree(const std::vector<std::pair<std::string, std::string>>& what) {
  const std::vector<std::string> all = gather(Json(what).dump(-1, ' ', false, Json::error_handler_t::replace));
  if (std::equal(all.begin() + 1, all.end(), all.begin())) return;
  const Json first = parse_json(all[0], name(0));
  for (int k = 1; k < size(); ++k) {
    if (all[size_t(k)] == all[0]) continue;
    const Json other = parse_json(all[size_t(k)], name(k));
    for (size_t i = 0; i < std::min(first.size(), other.size()); ++i) {
      const auto text_of = [&](const Json& pairs) { return pairs.at(i).at(1).get<std::string>(); };
      if (first.at(i) == other.at(i)) continue;
      const auto [here, there] = first_difference(text_of(other), text_of(first));
      fail("{}: {} has '{}', {} has '{}'", first.at(i).at(0).get<std::string>(), name(k), printable(here), name(0),
           printable(there));
    }
  }
  throw InternalError("ranks agree on other things");
}

void RankGroup::leave() {
  store_->set(key("left", rank()), "");
  if (!hosts_) {
    const std::lock_guard lock(mutex_);
    left_ = true;
    return;
  }
  std::vector<std::string> all;
  for (int k = 0; k < size(); ++k) all.push_back(key("left", k));
  wait_for(all);
}

RankFailure RankGroup::leave_with(int code, const std::string& message, bool interrupted) {
  RankFailure own{rank(), code, message};
  try {
    if (!members_.empty()) look(*store_);
    const std::optional<RankFailure> other = failure();
    if (code == kSignalled && other && !(interrupted && other->code == kSignalled))
      own = {other->rank, other->code, text(*other)};
    else
      store_->set_once(key(kFailed, 0), failure_text(own));
    store_->set(key("heard", rank()), "");
    if (!hosts_) return own;
    const Clock::time_point until = Clock::now() + kHearWithin;
    const auto waits = [&](int k) {
      if (k == rank() || !store_->has({key("member", k)})) return false;
      if (!members_.empty() && members_[size_t(k)].gone(members_[size_t(rank())].machine)) return false;
      return !store_->has({key("heard", k)}) && !store_->has({key("left", k)});
    };
    for (int k = 0; k < size(); ++k)
      while (waits(k) && Clock::now() < until) std::this_thread::sleep_for(kLongPause);
  } catch (const StoreLost&) {
    // Rank 0 stays until the others have heard why it ends, so it has ended otherwise.
    failed(nullptr, lost());
    if (const std::optional<RankFailure> other = failure(); code == kSignalled && other)
      own = {other->rank, other->code, text(*other)};
  }
  return own;
}

}  // namespace yopo
