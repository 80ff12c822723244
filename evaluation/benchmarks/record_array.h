// A JSON array of small records as a file, one a line, without holding them all.
#pragma once

#include "core/file.h"
#include "core/json.h"

namespace yopo {

class RecordArray {
 public:
  explicit RecordArray(const fs::path& path) : file_(path) {}
  void add(const Json& record) {
    file_.write(first_ ? "[\n" : ",\n");
    first_ = false;
    file_.write(record.dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  /// The file appears now, whole.
  void commit() {
    file_.write(first_ ? "[]\n" : "\n]\n");
    file_.commit();
  }

 private:
  AtomicFile file_;
  bool first_ = true;
};

}  // namespace yopo
