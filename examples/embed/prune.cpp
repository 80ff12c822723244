// prune MODEL QUESTIONS IMAGES OUTPUT: calibrates, plans and exports.
#include <yopo/yopo.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 5) return std::cerr << "usage: prune MODEL QUESTIONS IMAGES OUTPUT\n", 2;
  try {
    const std::filesystem::path output = argv[4];
    yopo::CalibrateSettings calibration;
    calibration.model = argv[1];
    calibration.questions = argv[2];
    calibration.images = argv[3];
    calibration.output = output / "stats.h5";
    calibration.samples = 20;
    yopo::calibrate(calibration);
    std::cout << yopo::plan({argv[1], output / "stats.h5", output / "plan.json", {"ffn.keep=0.5", "updates.keep=0.5"}});
    yopo::export_pruned({argv[1], output / "plan.json", output / "pruned"});
    std::cout << "pruned: " << yopo::Model(output / "pruned").pruned() << '\n';
  } catch (const yopo::Error& error) {
    return std::cerr << error.what() << '\n', 2;
  }
}
