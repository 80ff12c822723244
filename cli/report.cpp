#include "cli/command.h"
#include "cli/output.h"
#include "report/data.h"
#include "report/draw.h"

namespace yopo::cli {

void add_report(CLI::App& app, Context& context) {
  auto folder = std::make_shared<std::string>();
  auto png = std::make_shared<bool>(false);
  CLI::App* command = add_command(app, context, Runs::Nothing, "report",
                                  "What a run chose and what it cost, as one HTML page", "yopo report out/demo");
  command->add_option("folder", *folder, "Output folder of `yopo run`")->required();
  command->add_flag("--png", *png, "Also each chart as report/NAME.png, drawn by rsvg-convert, inkscape or chromium");
  command->callback([folder, png, &context] {
    context.run = [folder, png, &context] {
      const std::optional<Drawer> drawer = *png ? std::optional(find_drawer()) : std::nullopt;
      const fs::path file = fs::path(*folder) / "report.html";
      const ReportData data = read_report(*folder);
      write_text(file, report_page(data));
      std::vector<std::string> files{file.string()};
      if (drawer)
        for (const ReportPicture& picture : report_pictures(data)) {
          const fs::path to = fs::path(*folder) / "report" / (picture.name + ".png");
          const std::vector<std::byte> bytes = draw_png(*drawer, picture.svg, picture.name);
          write_text(to, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
          files.push_back(to.string());
        }
      if (context.json)
        print_json({{"report", file.string()},
                    {"pictures", std::vector<std::string>(files.begin() + 1, files.end())},
                    {"notes", data.notes}});
      else
        print(fmt::format("{}\n", fmt::join(files, "\n")));
      return 0;
    };
  });
}

}  // namespace yopo::cli
