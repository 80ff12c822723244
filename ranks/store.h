// A table of names and bytes that all ranks see: LibTorch's TCPStore, without its headers.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace yopo {

/// The process that holds the table is gone, or does not answer.
class StoreLost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One connection. Each call is one step to all ranks, throws StoreLost, and may come from any thread.
class Store {
 public:
  /// Holds the table in this process; port 0: any. UserError where the port is taken.
  static std::unique_ptr<Store> host(int port);
  /// Tries until `until`, the table's process may come later; StoreLost then. Interrupted as everywhere.
  static std::unique_ptr<Store> connect(const std::string& address, int port,
                                        std::chrono::steady_clock::time_point until);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  int port() const;
  void set(const std::string& key, const std::string& bytes);
  /// Whether all of them are set.
  bool has(const std::vector<std::string>& keys);
  /// Of keys that are set.
  std::vector<std::string> get(const std::vector<std::string>& keys);
  std::string get(const std::string& key) { return get(std::vector<std::string>{key}).front(); }
  /// The sum after it; of a key that is not set, from 0.
  int64_t add(const std::string& key, int64_t value);
  void append(const std::string& key, const std::string& bytes);
  /// Sets the key unless it is set; what it holds then.
  std::string set_once(const std::string& key, const std::string& bytes);

 private:
  struct Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace yopo
