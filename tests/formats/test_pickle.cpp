// What torch.save writes is read as data; any other pickle is refused before it does anything.
#include "formats/pickle.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/formats/torch_bytes.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::global;
using testing::little;
using testing::pickled;
using testing::text;
using Kind = PickleValue::Kind;

Pickle parse_bytes(const std::string& bytes) {
  return Pickle::parse(std::as_bytes(std::span(bytes.data(), bytes.size())), "x.bin: data.pkl");
}
Pickle parse(const std::string& root) { return parse_bytes(pickled(root)); }
int64_t integer(const std::string& root) { return parse(root).root().integer; }

TEST(Pickle, Atoms) {
  EXPECT_EQ(parse("N").root().kind, Kind::None);
  EXPECT_EQ(parse("\x88").root().kind, Kind::Bool);
  EXPECT_EQ(integer("\x88"), 1);
  EXPECT_EQ(integer("\x89"), 0);
  EXPECT_EQ(integer("K\xff"), 255);
  EXPECT_EQ(integer("M\xff\xff"), 65535);
  EXPECT_EQ(integer("J\xfe\xff\xff\xff"), -2);
  EXPECT_EQ(integer(std::string("\x8a\0", 2)), 0);
  EXPECT_EQ(integer("\x8a\x01\xff"), -1);
  EXPECT_EQ(integer(std::string("\x8a\x06\0\0\0\0\0\x01", 8)), int64_t(1) << 40);
  EXPECT_EQ(integer("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"), INT64_MAX);
  EXPECT_EQ(parse(std::string("G\x3f\xf8\0\0\0\0\0\0", 9)).root().number, 1.5);
  EXPECT_EQ(parse(text("a\xc3\xa4")).root().text, "a\xc3\xa4");
  EXPECT_EQ(parse("\x8c\x02"
                  "ab")
                .root()
                .text,
            "ab");
  EXPECT_EQ(parse("\x8d" + little(2, 8) + "ab").root().text, "ab");
}

TEST(Pickle, Containers) {
  const Pickle pickle = parse("(K\1K\2](K\3K\4e}" + text("k") + "K\5s\x87t");
  ASSERT_EQ(pickle.root().kind, Kind::Tuple);
  ASSERT_EQ(pickle.root().items.size(), 2u);
  const PickleValue& inner = pickle[pickle.root().items[1]];
  ASSERT_EQ(inner.items.size(), 3u);
  EXPECT_EQ(pickle[inner.items[0]].integer, 2);
  EXPECT_EQ(pickle[inner.items[1]].kind, Kind::List);
  EXPECT_EQ(pickle[inner.items[1]].items.size(), 2u);
  EXPECT_EQ(pickle[inner.items[2]].kind, Kind::Dict);
  EXPECT_EQ(pickle[pickle[inner.items[2]].items[0]].text, "k");
  EXPECT_EQ(parse(")").root().items.size(), 0u);
  EXPECT_EQ(parse("K\1\x85").root().items.size(), 1u);
  EXPECT_EQ(parse("K\1K\2\x86").root().items.size(), 2u);
  EXPECT_EQ(parse("]K\1a").root().items.size(), 1u);
}

TEST(Pickle, MemoSharesValues) {
  const Pickle pickle = parse("(]q\1K\7r" + little(300, 4) + "h\1j" + little(300, 4) + "t");
  ASSERT_EQ(pickle.root().items.size(), 4u);
  EXPECT_EQ(pickle.root().items[0], pickle.root().items[2]);
  EXPECT_EQ(pickle.root().items[1], pickle.root().items[3]);
  const Pickle framed = parse_bytes("\x80\x04\x95" + little(8, 8) + "(K\7\x94h" + std::string(1, '\0') + "t.");
  ASSERT_EQ(framed.root().items.size(), 2u);
  EXPECT_EQ(framed.root().items[0], framed.root().items[1]);
}

TEST(Pickle, WhatTorchNames) {
  const std::string ordered = global("collections", "OrderedDict") + ")R";
  EXPECT_EQ(parse(ordered).root().kind, Kind::Dict);
  const Pickle dict = parse(ordered + "(" + text("a") + "K\1u}" + text("_metadata") + ordered + "sb");
  EXPECT_EQ(dict.root().kind, Kind::Dict);
  EXPECT_EQ(dict.root().items.size(), 2u) << "attributes are dropped";
  EXPECT_EQ(parse(global("torch", "Size") + "K\2K\3\x86\x85R").root().items.size(), 2u);
  const Pickle stored = parse(testing::storage("FloatStorage", "0", 4));
  EXPECT_EQ(stored.root().kind, Kind::Persistent);
  EXPECT_EQ(stored[stored.root().items[0]].items.size(), 5u);
  const Pickle tensor = parse(testing::rebuilt(testing::storage("HalfStorage", "0", 4), 0, {2, 2}, {2, 1}));
  EXPECT_EQ(tensor.root().kind, Kind::Call);
  EXPECT_EQ(tensor.root().text, "torch._utils._rebuild_tensor_v2");
  const Pickle four = parse_bytes(
      "\x80\x04\x8c\x0b"
      "collections\x94\x8c\x0bOrderedDict\x94\x93)R.");
  EXPECT_EQ(four.root().kind, Kind::Dict);
}

TEST(PickleHostile, NamesAreNeverLookedUp) {
  const std::string argument = "(" + text("true") + "tR";
  EXPECT_USER_ERROR(parse(global("os", "system") + argument),
                    "x.bin: data.pkl: byte 2: holds os.system: only tensors are read");
  EXPECT_USER_ERROR(parse("}" + text("a") + global("posix", "system") + argument + "s"),
                    "byte 9: holds posix.system: only tensors are read");
  EXPECT_USER_ERROR(parse(global("builtins", "eval") + argument), "holds builtins.eval: only tensors are read");
  EXPECT_USER_ERROR(parse("\x8c\x02os\x8c\x06system\x93" + argument), "byte 14: holds os.system");
  EXPECT_USER_ERROR(parse(global("torch", "load") + argument), "holds torch.load");
  EXPECT_USER_ERROR(parse(global("torch", "_C.FloatStorage")), "holds torch._C.FloatStorage");
  EXPECT_USER_ERROR(parse(global("torch.storage", "UntypedStorage")), "holds torch.storage.UntypedStorage");
  EXPECT_USER_ERROR(parse(global("torch._utils", "_rebuild_tensor_v3")), "holds torch._utils._rebuild_tensor_v3");
  EXPECT_USER_ERROR(parse(global("collections", "OrderedDict\x1b[31m")), "holds collections.OrderedDict\\x1b[31m");
  EXPECT_USER_ERROR(parse("K\1K\2\x93"), "a global whose name is no text");
  EXPECT_USER_ERROR(parse("c" + std::string(1000, 'a') + "\nb\n"), "a name without its end");
  EXPECT_USER_ERROR(parse("cos"), "bytes expected");
}

TEST(PickleHostile, CallsAndStates) {
  EXPECT_USER_ERROR(parse(text("os.system") + ")R"), "calls a text: only tensors are read");
  EXPECT_USER_ERROR(parse(global("torch", "FloatStorage") + ")R"), "calls torch.FloatStorage: only tensors are read");
  EXPECT_USER_ERROR(parse(global("torch", "Size") + "]R"), "only tensors are read");
  EXPECT_USER_ERROR(parse(global("torch", "Size") + "K\1\x85R"), "torch.Size of something else");
  EXPECT_USER_ERROR(parse(global("collections", "OrderedDict") + "]\x85R"), "an OrderedDict made of arguments");
  EXPECT_USER_ERROR(parse("]}b"), "sets the state of a list: only tensors are read");
  EXPECT_USER_ERROR(parse(testing::rebuilt(testing::storage("HalfStorage", "0", 4), 0, {4}, {1}) + "}b"),
                    "sets the state of a tensor");
  EXPECT_USER_ERROR(parse("}K\1b"), "sets the state of a dict");
}

TEST(PickleHostile, Opcodes) {
  // INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT1, STRING, DUP, POP, PERSID, BINBYTES, EMPTY_SET, BYTEARRAY8, LONG4.
  for (const char opcode : std::string("io\x81\x92\x82S20P"
                                       "B\x8f\x96\x8b"))
    EXPECT_USER_ERROR(parse("(" + std::string(1, opcode) + "os\nsystem\n"),
                      fmt::format("byte 3: holds opcode {:#04x}: only tensors are read", uint8_t(opcode)));
}

TEST(PickleHostile, Stack) {
  EXPECT_USER_ERROR(parse_bytes(""), "not a pickle");
  EXPECT_USER_ERROR(parse_bytes("(lp0\n."), "not a pickle of protocol 2 to 5");
  EXPECT_USER_ERROR(parse_bytes("\x80\x06N."), "protocol 6");
  EXPECT_USER_ERROR(parse_bytes("\x80\x01N."), "protocol 1");
  EXPECT_USER_ERROR(parse_bytes("\x80\x02N"), "1 bytes expected, 0 are left");
  for (const std::string code : {"", "R", "a", "s", "Q", "q\1", "\x85", "\x94", "K\1\x86", "\x93", "b", "]s"})
    EXPECT_USER_ERROR(parse(code), "takes a value from an empty stack");
  EXPECT_USER_ERROR(parse("]K\1e"), "no mark");
  EXPECT_USER_ERROR(parse("t"), "no mark");
  EXPECT_USER_ERROR(parse("]K\1(a"), "takes a value from an empty stack");  // what is under a mark is out of reach
  EXPECT_USER_ERROR(parse("(K\1e"), "takes a value from an empty stack");
  EXPECT_USER_ERROR(parse("NN"), "values are left over");
  EXPECT_USER_ERROR(parse("(N"), "left over");
  EXPECT_USER_ERROR(parse_bytes(pickled("N") + "x"), "1 bytes follow its end");
  EXPECT_USER_ERROR(parse("}(K\1u"), "a key without its value");
  EXPECT_USER_ERROR(parse("}K\1a"), "adds to a dict");
  EXPECT_USER_ERROR(parse("]K\1K\2s"), "adds to a list");
  EXPECT_USER_ERROR(parse(")K\1a"), "adds to a tuple");
}

TEST(PickleHostile, Sizes) {
  EXPECT_USER_ERROR(parse("X\xff\xff\xff\xff"
                          "a"),
                    "a text of 4294967295 bytes");
  EXPECT_USER_ERROR(parse("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), "a text of 18446744073709551615 bytes");
  EXPECT_USER_ERROR(parse("X" + little(9, 4) + "abc"), "9 bytes expected, 4 are left");
  EXPECT_USER_ERROR(parse(text("\xff")), "not UTF-8");
  EXPECT_USER_ERROR(parse(text("\xed\xa0\x80")), "not UTF-8");
  EXPECT_USER_ERROR(parse("\x8a\x09" + std::string(9, '\1')), "an integer of 9 bytes");
  EXPECT_USER_ERROR(parse_bytes("\x80\x04\x95" + little(~uint64_t(0), 8) + "N."),
                    "a frame of 18446744073709551615 bytes");
}

TEST(PickleHostile, Memo) {
  EXPECT_USER_ERROR(parse_bytes("\x80\x02h"), "bytes expected");
  EXPECT_USER_ERROR(parse("h\7"), "memo entry 7 was never made");
  EXPECT_USER_ERROR(parse("Nq\3h\2"), "memo entry 2 was never made");
  EXPECT_USER_ERROR(parse("Nr\xff\xff\xff\xff"), "memo entry 4294967295; expected less than");
  EXPECT_USER_ERROR(parse("j\xff\xff\xff\xff"), "memo entry 4294967295 was never made");
}

/// A tuple of N and `count` tuples that each hold the one before twice.
std::string doubled(int count) {
  std::string bytes = "(Nq\1";
  for (int i = 0; i < count; ++i) bytes += "h\1h\1\x86q\1";
  return bytes + "t";
}

TEST(PickleHostile, Nesting) {
  const auto nested = [](int levels) {
    return std::string(size_t(levels), ']') + std::string(size_t(levels - 1), 'a');
  };
  EXPECT_NO_THROW(parse(nested(32)));
  EXPECT_USER_ERROR(parse(nested(33)), "nested more than 32 levels");
  EXPECT_USER_ERROR(parse(nested(500'000)), "nested more than 32 levels");
  EXPECT_USER_ERROR(parse(std::string(2000, '(')), "more than 1000 marks");
  EXPECT_USER_ERROR(parse(std::string(2'000'001, 'N')), "more than 2000000 values");
  EXPECT_USER_ERROR(parse(doubled(31)), "nested more than 32 levels");  // by the memo, nowhere in the bytes
}

TEST(PickleHostile, DoublingIsLinear) {
  // 2^30 values if they were expanded.
  EXPECT_EQ(parse(doubled(30)).root().items.size(), 31u);
}

TEST(PickleHostile, Cycles) {
  EXPECT_USER_ERROR(parse("]q\1h\1a"), "a value that holds itself");
  EXPECT_USER_ERROR(parse("}q\1" + text("k") + "h\1s"), "a value that holds itself");
  EXPECT_USER_ERROR(parse("]q\1]q\2h\1aa"), "a value that holds itself");
}

}  // namespace
}  // namespace yopo
