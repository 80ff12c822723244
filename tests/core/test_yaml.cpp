#include "core/yaml.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

TEST(Yaml, BuildsATreeWithPlaces) {
  const YamlNode root = parse_yaml("a: 1\nb:\n  - x\n  - {c: 'y', d: ~}\n", "f.yaml");
  EXPECT_EQ(root.kind, YamlNode::Kind::Map);
  EXPECT_EQ(root.find("a")->text, "1");
  const YamlNode& b = *root.find("b");
  ASSERT_EQ(b.items.size(), 2u);
  EXPECT_EQ(b.items[0].place, "f.yaml:3:5");
  EXPECT_EQ(b.items[1].find("c")->text, "y");
  EXPECT_TRUE(b.items[1].find("c")->quoted);
  EXPECT_EQ(b.items[1].find("d"), nullptr) << "null is absent";
  EXPECT_EQ(b.items[1].entries[1].place, "f.yaml:4:14");
  EXPECT_EQ(parse_yaml("", "f").kind, YamlNode::Kind::Null);
  EXPECT_EQ(parse_yaml("# only a comment\n", "f").kind, YamlNode::Kind::Null);
  EXPECT_EQ(parse_yaml("'null'", "f").kind, YamlNode::Kind::Scalar);
  EXPECT_EQ(parse_yaml("größe: ü\n", "f").find("größe")->text, "ü");
}

TEST(Yaml, RefusesWhatHidesOrMultipliesContent) {
  EXPECT_USER_ERROR(parse_yaml("a: &x 1\nb: *x\n", "f.yaml"), "f.yaml:1:4: anchors");
  EXPECT_USER_ERROR(parse_yaml("a: &x {b: 1}\n", "f.yaml"), "anchors");
  EXPECT_USER_ERROR(parse_yaml("a: *x\n", "f.yaml"), "f.yaml:1:");
  EXPECT_USER_ERROR(parse_yaml("a: 1\n<<: {b: 1}\n", "f.yaml"), "f.yaml:2:1: merge keys");
  EXPECT_USER_ERROR(parse_yaml("a: 1\nb: 2\na: 3\n", "f.yaml"), "f.yaml:3:1: duplicate key 'a'");
  EXPECT_USER_ERROR(parse_yaml("x: {a: 1, 'a': 3}\n", "f.yaml"), "f.yaml:1:11: duplicate key 'a'");
  EXPECT_USER_ERROR(parse_yaml("a: !!python/object:os.system x\n", "f.yaml"), "the tag");
  EXPECT_USER_ERROR(parse_yaml("!thing {a: 1}\n", "f.yaml"), "the tag");
  EXPECT_USER_ERROR(parse_yaml("{[a]: 1}\n", "f.yaml"), "a key should be a plain word");
  EXPECT_USER_ERROR(parse_yaml("? {a: 1}\n: 2\n", "f.yaml"), "a key should be a plain word");
  EXPECT_USER_ERROR(parse_yaml("~: 1\n", "f.yaml"), "a key should be a plain word");
  EXPECT_USER_ERROR(parse_yaml("a: 1\n---\nb: 2\n", "f.yaml"), "a second document");
}

TEST(Yaml, SyntaxErrorsNameThePlace) {
  EXPECT_USER_ERROR(parse_yaml("a: 1\nb: [1, 2\n", "f.yaml"), "f.yaml:");
  EXPECT_USER_ERROR(parse_yaml("a: 1\n b: 2\n", "f.yaml"), "f.yaml:2:3: not valid YAML");
  for (const char* unfinished : {"a: \"x\n", "a: \"x", "a: 'x\n\n", "a: \"x\nb: 2\n \t\r\n"})
    EXPECT_USER_ERROR(parse_yaml(unfinished, "f.yaml"), "not valid YAML: illegal EOF in scalar");
  EXPECT_USER_ERROR(parse_yaml("a: ]\n", "f.yaml"), "not valid YAML");
}

TEST(Yaml, RefusesBytesThatAreNoText) {
  EXPECT_USER_ERROR(parse_yaml("a: \xff\n", "f.yaml"), "f.yaml:1:4: not UTF-8");
  EXPECT_USER_ERROR(parse_yaml("a: \xed\xa0\x80\n", "f.yaml"), "not UTF-8");
  EXPECT_USER_ERROR(parse_yaml("a: \xc0\xaf\n", "f.yaml"), "not UTF-8");
  EXPECT_USER_ERROR(parse_yaml("a: 1\n\x04"
                               "b: 2\n",
                               "f.yaml"),
                    "f.yaml:2:1: control character \\x04");
  EXPECT_USER_ERROR(parse_yaml(std::string_view("a\0: 1", 5), "f.yaml"), "control character \\x00");
  EXPECT_USER_ERROR(parse_yaml("a: \"x\\0y\"\n", "f.yaml"), "f.yaml:1:4: 'x\\x00y' holds a control character");
  EXPECT_USER_ERROR(parse_yaml("a: \"x\\e[31m\"\n", "f.yaml"), "holds a control character");
}

TEST(Yaml, NestingIsBounded) {
  const auto flow = [](size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); };
  EXPECT_NO_THROW(parse_yaml(flow(32), "f"));
  EXPECT_USER_ERROR(parse_yaml(flow(33), "f"), "f:1:33: nested more than 32 levels");
  EXPECT_THROW(parse_yaml(std::string(1'000'000, '['), "f"), UserError);
  EXPECT_THROW(parse_yaml(std::string(1'000'000, '{'), "f"), UserError);
  std::string dashes;
  for (int i = 0; i < 10'000; ++i) dashes += "- ";
  EXPECT_THROW(parse_yaml(dashes + "x", "f"), UserError);
  std::string block;
  for (size_t i = 0; i < 500; ++i) block += std::string(i, ' ') + "a:\n";
  EXPECT_THROW(parse_yaml(block, "f"), UserError);
}

TEST(Yaml, ManyKeysAreFast) {
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += "k" + std::to_string(i) + ": 1\n";
  EXPECT_EQ(parse_yaml(text, "f").entries.size(), 50'000u);
}

TEST(Yaml, Overrides) {
  YamlNode root = parse_yaml("a: {b: 1}\nlist: [{x: 1}]\nscalar: s\n", "f");
  override_yaml(root, "a.b=2");
  override_yaml(root, "a.new.deep={k: [1, 2]}");
  override_yaml(root, "list.0.x=5");
  override_yaml(root, "list.1.x=6");
  override_yaml(root, "scalar.inside=7");
  override_yaml(root, "url=a=b");
  override_yaml(root, "gone=");
  EXPECT_EQ(root.find("a")->find("b")->text, "2");
  EXPECT_EQ(root.find("a")->find("new")->find("deep")->find("k")->items.size(), 2u);
  EXPECT_EQ(root.find("list")->items[0].find("x")->text, "5");
  EXPECT_EQ(root.find("list")->items[1].find("x")->text, "6");
  EXPECT_EQ(root.find("scalar")->find("inside")->text, "7");
  EXPECT_EQ(root.find("url")->text, "a=b");
  EXPECT_EQ(root.find("gone"), nullptr);
  EXPECT_EQ(root.find("a")->find("b")->place, "--set a.b=2");
  EXPECT_EQ(root.find("a")->find("new")->find("deep")->entries[0].place, "--set a.new.deep={k: [1, 2]}");
}

TEST(Yaml, BadOverrides) {
  YamlNode root = parse_yaml("list: [1]\n", "f");
  EXPECT_USER_ERROR(override_yaml(root, "a.b"), "--set a.b: expected KEY=VALUE");
  EXPECT_USER_ERROR(override_yaml(root, "=1"), "expected KEY=VALUE");
  EXPECT_USER_ERROR(override_yaml(root, "a..b=1"), "an empty key");
  EXPECT_USER_ERROR(override_yaml(root, ".a=1"), "an empty key");
  EXPECT_USER_ERROR(override_yaml(root, "a.=1"), "an empty key");
  EXPECT_USER_ERROR(override_yaml(root, "list.2=1"), "'2' should be an index from 0 to 1");
  EXPECT_USER_ERROR(override_yaml(root, "list.x=1"), "'x' should be an index");
  EXPECT_USER_ERROR(override_yaml(root, "list.-1=1"), "should be an index");
  EXPECT_USER_ERROR(override_yaml(root, "a=[1"), "--set a=[1:");
  EXPECT_USER_ERROR(override_yaml(root, "a=&x 1"), "anchors");
  EXPECT_USER_ERROR(override_yaml(root, "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q=1"), "more than 16 keys");
}

TEST(Yaml, CheckKeys) {
  const YamlNode root = parse_yaml("dataset: 1\nquaries: 2\n", "demo.yaml");
  EXPECT_NO_THROW(check_keys(root, "x", {"dataset", "quaries"}));
  EXPECT_USER_ERROR(check_keys(root, "calibration", {"dataset", "queries"}),
                    "demo.yaml:2:1: unknown key 'quaries' in calibration; did you mean 'queries'?");
  EXPECT_USER_ERROR(check_keys(root, "", {"dataset"}), "in the recipe");
  EXPECT_USER_ERROR(check_keys(parse_yaml("[1]", "f"), "plan", {"a", "b"}),
                    "f:1:1: plan should be a map with a, b, found a list");
}

TEST(Yaml, TypedScalars) {
  const auto node = [](const std::string& text) { return parse_yaml(text, "f"); };
  EXPECT_EQ(yaml_int(node("-12"), "n", -20, 0), -12);
  EXPECT_EQ(yaml_int(node("+3"), "n", 0, 9), 3);
  EXPECT_EQ(yaml_int(node("9223372036854775807"), "n", 0, INT64_MAX), INT64_MAX);
  EXPECT_TRUE(
      testing::close(std::vector<double>{yaml_number(node("2.5e-1"), "n", 0, 1), yaml_number(node("3"), "n", 0, 9)},
                     std::vector<double>{0.25, 3}, 0));
  EXPECT_TRUE(yaml_bool(node("true"), "b"));
  EXPECT_FALSE(yaml_bool(node("false"), "b"));
  EXPECT_EQ(yaml_string(node("5"), "s"), "5");
  EXPECT_USER_ERROR(yaml_int(node("9223372036854775808"), "n", 0, INT64_MAX), "f:1:1: n should be an integer");
  for (const char* bad : {"1.0", "0x10", "1e3", "'1'", "x", "[1]", "~", "--1", "+-1", "1_000", "10"})
    EXPECT_USER_ERROR(yaml_int(node(bad), "n", 0, 9), "n should be an integer in [0, 9]");
  for (const char* bad : {".nan", "nan", ".inf", "inf", "-.inf", "1e400", "'1'", "0x1p3", "", "1.5.2", "2"})
    EXPECT_USER_ERROR(yaml_number(node(bad), "n", 0, 1), "n should be a number in [0, 1]");
  for (const char* bad : {"yes", "True", "1", "'true'", "{}"})
    EXPECT_USER_ERROR(yaml_bool(node(bad), "b"), "b should be true or false");
  EXPECT_USER_ERROR(yaml_string(node("[a]"), "s"), "s should be text, found a list");
  EXPECT_USER_ERROR(yaml_string(node("''"), "s"), "s should be text");
}

}  // namespace
}  // namespace yopo
