// The declaration of tensors against the structs that both forwards fill from it.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "models/family.h"
#include "models/layer_tensors.h"

namespace yopo {
namespace {

/// Roles of a struct's members: 1 for matrices, 0 for vectors.
template <typename Tensors>
void members_of(std::map<Role, int>& members, std::multiset<Role>& roles) {
  for (const auto& [role, member] : Tensors::matrices()) members[role] = 1, roles.insert(role);
  for (const auto& [role, member] : Tensors::vectors()) members[role] = 0, roles.insert(role);
}

TEST(DeclaredTensors, EveryRoleOnceAndInOneStruct) {
  std::map<Role, int> members;
  std::multiset<Role> roles;
  members_of<LayerTensors<int>>(members, roles);
  members_of<VisionLayerTensors<int>>(members, roles);
  members_of<DecoderEnds<int>>(members, roles);
  members_of<VisionEnds<int>>(members, roles);
  members_of<ProjectorTensors<int>>(members, roles);
  members_of<TapTensors<int>>(members, roles);
  roles.insert(Role::EmbedTokens);  // loaded apart, in its stored type
  std::multiset<Role> declared;
  for (const DeclaredTensor& tensor : declared_tensors()) declared.insert(tensor.role);
  EXPECT_EQ(declared, roles);
  for (int role = 0; role <= int(Role::TapProject2Bias); ++role) EXPECT_EQ(declared.count(Role(role)), 1u) << role;
}

TEST(DeclaredTensors, LayersStandTogether) {
  std::set<TensorPlace> left;
  TensorPlace before = TensorPlace::Decoder;
  for (const DeclaredTensor& tensor : declared_tensors()) {
    if (tensor.place != before && before != TensorPlace::Decoder) {
      EXPECT_TRUE(left.insert(before).second) << int(before);
    }
    before = tensor.place;
  }
}

TEST(Families, RecordsAreWhole) {
  std::set<std::string> names, architectures;
  for (const Family* family : families()) {
    SCOPED_TRACE(family->name);
    EXPECT_TRUE(names.insert(family->name).second);
    for (const std::string& name : family->architectures) EXPECT_TRUE(architectures.insert(name).second) << name;
    EXPECT_FALSE(family->model_types.empty());
    EXPECT_FALSE(family->templates.empty());
    EXPECT_EQ(&family_named(family->name), family);
    for (const TensorLayout& layout : family->layouts) {
      std::set<Role> roles;
      for (const TensorName& name : layout.names) EXPECT_TRUE(roles.insert(name.role).second) << layout.name;
    }
  }
  EXPECT_THROW(family_named("none"), InternalError);
  ModelSpec spec;
  spec.family = "llava";
  spec.layout = "none";
  EXPECT_THROW(layout_of(spec), InternalError);
  EXPECT_THROW(tensor_table(spec), InternalError);
}

}  // namespace
}  // namespace yopo
