// prune MODEL QUESTIONS IMAGES IMAGE QUESTION OUTPUT: calibrates, plans, exports, and asks the result.
#include <yopo/yopo.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 7) return std::cerr << "usage: prune MODEL QUESTIONS IMAGES IMAGE QUESTION OUTPUT\n", 2;
  try {
    const std::filesystem::path output = argv[6];
    yopo::CalibrateSettings calibration;
    calibration.model = argv[1];
    calibration.questions = argv[2];
    calibration.images = argv[3];
    calibration.output = output / "stats.h5";
    calibration.samples = 20;
    yopo::calibrate(calibration);
    std::cout << yopo::plan({argv[1], output / "stats.h5", output / "plan.json", {"ffn.keep=0.5", "updates.keep=0.5"}});
    yopo::export_pruned({argv[1], output / "plan.json", output / "pruned"});
    std::cout << yopo::Model(output / "pruned").generate({argv[4]}, argv[5]).text << '\n';
  } catch (const yopo::Error& error) {
    return std::cerr << error.what() << '\n', 2;
  }
}
