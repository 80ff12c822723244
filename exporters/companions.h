// What belongs to a checkpoint beside its weights and config.json: copied, or told of.
#pragma once

#include <string>
#include <vector>

#include "core/file.h"

namespace yopo {

/// A file or folder of the source that the export lacks.
struct LeftOut {
  std::string path;  // relative to the source
  std::string why;
};

struct Companions {
  std::vector<std::string> copied;   // sorted
  std::vector<LeftOut> left_out;     // sorted
  std::vector<std::string> derived;  // files made from another one
};

/// Copies every file of the checkpoint `from`, subfolders included, into `to`: not weights, config.json and what is
/// hidden, nor the files and folders `except`, which are there in another way and are not told of. Links are read
/// through where they lead to a file in `from` or in the folder that its config.json lies in (download caches and
/// collections of links); tokenizers and processors, which are read when the model runs, wherever they lead. Nothing in
/// `to` is replaced.
Companions copy_companions(const fs::path& from, const fs::path& to, const std::vector<fs::path>& except = {});

/// Where the checkpoint in `folder` has its image rules in processor_config.json alone, as transformers 5 writes them:
/// puts them into a preprocessor_config.json too, without which transformers 4 does not load. Whether it did.
bool derive_preprocessor(const fs::path& folder);

}  // namespace yopo
