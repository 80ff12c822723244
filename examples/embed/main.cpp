// ask MODEL IMAGE QUESTION: prints the answer as it comes.
//   ask out/demo/pruned examples/digitgrid/data/test/images/0000.png "How many digits are there?"
#include <yopo/runtime.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 4) return std::cerr << "usage: ask MODEL IMAGE QUESTION\n", 2;
  try {
    yopo::Model model(argv[1]);
    model.generate({argv[2]}, argv[3], {}, [](const yopo::AnswerToken& token) {
      std::cout << token.text << std::flush;
      return true;
    });
    std::cout << '\n';
  } catch (const yopo::Error& error) {
    return std::cerr << error.what() << '\n', 2;
  }
}
