// SVG to PNG by a program that is installed for it: none of the libraries that yopo is built on draws text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"

namespace yopo {

/// A program that draws SVG files: rsvg-convert, inkscape or chromium, the first that PATH has.
struct Drawer {
  std::string name;
  fs::path program;
};
/// UserError naming the Debian packages where PATH has none.
Drawer find_drawer();

/// The drawing at twice its size in pixels as the bytes of a PNG. `name` is for messages. UserError with what the
/// program said where it fails, takes longer than a minute, or writes no such PNG.
std::vector<std::byte> draw_png(const Drawer& drawer, std::string_view svg, const std::string& name);

}  // namespace yopo
