// A folder that appears complete or not at all.
#pragma once

#include "core/file.h"

namespace yopo {

/// A folder `output`.partial-PID beside `output`; publish() renames it. Destroyed unpublished, it and its files are
/// gone; what a killed process left for the same output is removed first (core/leftovers.h). For one thread.
class StagingFolder {
 public:
  /// UserError when the folder cannot be made.
  explicit StagingFolder(const fs::path& output);
  ~StagingFolder();
  StagingFolder(const StagingFolder&) = delete;
  StagingFolder& operator=(const StagingFolder&) = delete;
  const fs::path& path() const { return path_; }
  /// Durable under its final name. UserError when something is there by now.
  void publish();

 private:
  void discard();
  fs::path output_, path_;
  int descriptor_ = -1;  // of the folder, held as long as it is filled
  bool published_ = false;
};

/// Copies a file's bytes to `to` (atomically). UserError naming the file.
void copy_bytes(const fs::path& from, const fs::path& to);

}  // namespace yopo
