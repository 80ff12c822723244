// What launchers set, and what nobody should set.
#include "ranks/launcher.h"

#include <gtest/gtest.h>

#include <map>

#include "core/error.h"

namespace yopo {
namespace {

using Environment = std::map<std::string, std::string>;

Variables variables(const Environment& environment) {
  return [environment](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  };
}

Environment with(Environment environment, const Environment& more) {
  for (const auto& [name, value] : more) environment[name] = value;
  return environment;
}

const Environment kMeet{{"MASTER_ADDR", "node7"}, {"MASTER_PORT", "29501"}};
const Environment kTorchrun = with(kMeet, {{"RANK", "1"}, {"WORLD_SIZE", "4"}});

TEST(Launcher, EachIsKnown) {
  const struct {
    const char* name;
    Environment set;
  } all[] = {{"torchrun", {{"RANK", "2"}, {"WORLD_SIZE", "4"}}},
             {"mpirun", {{"OMPI_COMM_WORLD_RANK", "2"}, {"OMPI_COMM_WORLD_SIZE", "4"}}},
             {"mpirun", {{"PMI_RANK", "2"}, {"PMI_SIZE", "4"}}},
             {"srun", {{"SLURM_PROCID", "2"}, {"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_NTASKS", "4"}}}};
  for (const auto& one : all) {
    SCOPED_TRACE(one.set.begin()->first);
    const Launcher launcher = read_launcher(variables(with(kMeet, one.set)));
    EXPECT_EQ(launcher.name, one.name);
    EXPECT_EQ(launcher.rank, 2);
    EXPECT_EQ(launcher.size, 4);
    EXPECT_EQ(launcher.address, "node7");
    EXPECT_EQ(launcher.port, 29501);
    EXPECT_FALSE(launcher.holds_store);
    EXPECT_TRUE(launcher.shared());
  }
}

TEST(Launcher, OneProcessIsAlone) {
  EXPECT_FALSE(read_launcher(variables({})).shared());
  EXPECT_FALSE(read_launcher(variables({{"RANK", "0"}, {"WORLD_SIZE", "1"}})).shared());
  EXPECT_FALSE(read_launcher(variables({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "1"}})).shared());
  // A batch script of four tasks runs once; its srun runs four times.
  EXPECT_FALSE(read_launcher(variables(with(kMeet, {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}))).shared());
}

TEST(Launcher, TorchrunInAJobOfSlurmCounts) {
  const Launcher launcher =
      read_launcher(variables(with(kTorchrun, {{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "2"}})));
  EXPECT_EQ(launcher.name, "torchrun");
  EXPECT_EQ(launcher.size, 4);
}

TEST(Launcher, TorchrunsAgentHoldsTheStore) {
  const Environment agent{
      {"TORCHELASTIC_USE_AGENT_STORE", "True"}, {"TORCHELASTIC_RUN_ID", "a"}, {"TORCHELASTIC_RESTART_COUNT", "1"}};
  const Launcher launcher = read_launcher(variables(with(kTorchrun, agent)));
  EXPECT_TRUE(launcher.holds_store);
  Environment again = with(kTorchrun, agent);
  again["TORCHELASTIC_RESTART_COUNT"] = "2";
  EXPECT_NE(launcher.run, read_launcher(variables(again)).run) << "a restart meets anew";
}

std::string refusal(const Environment& environment) {
  try {
    read_launcher(variables(environment));
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(Launcher, WhatDoesNotFitIsNamed) {
  const auto says = [](const Environment& environment, const std::vector<std::string>& words) {
    const std::string message = refusal(environment);
    for (const std::string& word : words) EXPECT_NE(message.find(word), std::string::npos) << word << ": " << message;
  };
  says({{"RANK", "0"}}, {"RANK", "WORLD_SIZE", "is not"});
  says({{"WORLD_SIZE", "2"}}, {"WORLD_SIZE", "RANK"});
  says({{"OMPI_COMM_WORLD_SIZE", "2"}}, {"OMPI_COMM_WORLD_RANK"});
  for (const char* rank : {"", "one", "-1", "1.5", "0x1", " 1", "1 ", "99999999999"})
    says(with(kTorchrun, {{"RANK", rank}}), {"RANK (environment)", rank});
  says(with(kTorchrun, {{"RANK", "4"}}), {"RANK is 4", "WORLD_SIZE is 4"});
  for (const char* size : {"0", "-2", "many", "65537"})
    says(with(kTorchrun, {{"WORLD_SIZE", size}}), {"WORLD_SIZE", size});
  for (const char* port : {"0", "65536", "http"}) says(with(kTorchrun, {{"MASTER_PORT", port}}), {"MASTER_PORT", port});
  says({{"RANK", "1"}, {"WORLD_SIZE", "4"}}, {"MASTER_ADDR is not set", "rank 1 of 4"});
  says(with(kTorchrun, {{"MASTER_PORT", ""}}), {"MASTER_PORT is not set"});
  says({{"SLURM_PROCID", "3"}, {"SLURM_STEP_NUM_TASKS", "4"}}, {"srun", "export", "SLURM_JOB_NODELIST"});
  says({{"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_SIZE", "4"}}, {"mpirun -x MASTER_ADDR"});
}

TEST(Launcher, TheTimeToJoin) {
  EXPECT_EQ(join_timeout(variables({})).count(), 300);
  EXPECT_EQ(join_timeout(variables({{"YOPO_RANKS_TIMEOUT", "7"}})).count(), 7);
  EXPECT_THROW(join_timeout(variables({{"YOPO_RANKS_TIMEOUT", "soon"}})), UserError);
  EXPECT_THROW(join_timeout(variables({{"YOPO_RANKS_TIMEOUT", "0"}})), UserError);
}

TEST(Launcher, ThreadsOfOneMachineAreShared) {
  EXPECT_EQ(threads_of_rank(variables({}), 16, 4), 4);
  EXPECT_EQ(threads_of_rank(variables({}), 2, 4), 1);
  EXPECT_EQ(threads_of_rank(variables({}), 16, 1), 16);
  EXPECT_EQ(threads_of_rank(variables({{"OMP_NUM_THREADS", "3"}}), 16, 4), 3);
  EXPECT_EQ(threads_of_rank(variables({{"OMP_NUM_THREADS", "3,2"}}), 16, 4), 3);
  EXPECT_EQ(threads_of_rank(variables({{"OMP_NUM_THREADS", "all"}}), 16, 4), 4);
}

}  // namespace
}  // namespace yopo
