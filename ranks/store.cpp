#include "ranks/store.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <thread>
#include <utility>

#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "core/error.h"
#include "core/interrupt.h"

namespace yopo {

struct Store::Impl {
  c10::intrusive_ptr<c10d::TCPStore> store;
};

namespace {

using StoreBytes = std::vector<uint8_t>;

// Answers come at once: whatever waits does so by asking again.
constexpr std::chrono::seconds kAnswerWithin{60};
constexpr int kTryFor = 500;  // milliseconds

StoreBytes to_bytes(const std::string& text) { return {text.begin(), text.end()}; }
std::string to_text(const StoreBytes& bytes) { return {bytes.begin(), bytes.end()}; }

c10d::TCPStoreOptions store_options(int port, bool server) {
  c10d::TCPStoreOptions options;
  options.port = uint16_t(port);
  options.isServer = server;
  options.waitWorkers = false;
  options.timeout = kAnswerWithin;
  return options;
}

/// Whether anybody listens there. LibTorch would warn of every attempt, and could not be interrupted.
bool is_listening(const std::string& address, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return false;
  bool listens = false;
  for (const addrinfo* one = found; one != nullptr && !listens; one = one->ai_next) {
    const int socket = ::socket(one->ai_family, one->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, one->ai_protocol);
    if (socket < 0) continue;
    listens = ::connect(socket, one->ai_addr, one->ai_addrlen) == 0;
    pollfd ready{socket, POLLOUT, 0};
    if (!listens && errno == EINPROGRESS && ::poll(&ready, 1, kTryFor) == 1) {
      int code = 0;
      socklen_t size = sizeof code;
      listens = ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &code, &size) == 0 && code == 0;
    }
    ::close(socket);
  }
  ::freeaddrinfo(found);
  return listens;
}

template <typename Call>
auto asked(Call&& call) {
  try {
    return call();
  } catch (const std::exception& error) {
    throw StoreLost("the connection to it is lost");
  }
}

}  // namespace

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;

std::unique_ptr<Store> Store::host(int port) {
  try {
    auto impl = std::make_unique<Impl>();
    impl->store = c10::make_intrusive<c10d::TCPStore>("localhost", store_options(port, true));
    return std::unique_ptr<Store>(new Store(std::move(impl)));
  } catch (const std::exception& error) {
    fail("MASTER_PORT (environment): rank 0 cannot listen at port {}: another process may hold it; choose another",
         port);
  }
}

std::unique_ptr<Store> Store::connect(const std::string& address, int port,
                                      std::chrono::steady_clock::time_point until) {
  while (!is_listening(address, port)) {
    check_interrupt();
    if (std::chrono::steady_clock::now() >= until)
      throw StoreLost(fmt::format("nobody answers at {}:{}", printable(address), port));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return asked([&] {
    auto impl = std::make_unique<Impl>();
    impl->store = c10::make_intrusive<c10d::TCPStore>(address, store_options(port, false));
    return std::unique_ptr<Store>(new Store(std::move(impl)));
  });
}

int Store::port() const { return impl_->store->getPort(); }

void Store::set(const std::string& key, const std::string& bytes) {
  asked([&] { impl_->store->set(key, to_bytes(bytes)); });
}

bool Store::has(const std::vector<std::string>& keys) {
  return asked([&] { return impl_->store->check(keys); });
}

std::vector<std::string> Store::get(const std::vector<std::string>& keys) {
  return asked([&] {
    std::vector<std::string> values;
    for (const StoreBytes& bytes : impl_->store->multiGet(keys)) values.push_back(to_text(bytes));
    return values;
  });
}

int64_t Store::add(const std::string& key, int64_t value) {
  return asked([&] { return impl_->store->add(key, value); });
}

void Store::append(const std::string& key, const std::string& bytes) {
  asked([&] { impl_->store->append(key, to_bytes(bytes)); });
}

std::string Store::set_once(const std::string& key, const std::string& bytes) {
  return asked([&] { return to_text(impl_->store->compareSet(key, {}, to_bytes(bytes))); });
}

}  // namespace yopo
