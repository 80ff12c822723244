// The line after the HDF5 content: its fingerprint, which says whether the content is what was written.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace yopo {

std::string hdf5_seal(std::span<const std::byte> content);

/// UserError naming `where` if the file ends with a seal that its content does not have.
void check_hdf5_seal(std::span<const std::byte> file, const std::string& where);

}  // namespace yopo
