// answers.jsonl as a journal: every finished batch is on disk, a killed run continues, a finished answer is never asked
// again.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>

#include "core/json.h"
#include "datasets/sample.h"

namespace yopo {

/// A record's question_id as text, whether the file holds a number or a string; UserError naming `where` otherwise.
std::string question_id_text(const Json& record, const std::string& where);

/// The same the other way: a number where the file held one.
Json question_id_json(const std::string& id, bool integer);

/// What the question of an answer's record is known by, as question_key(sample); `where` is for messages.
using KeyOf = std::function<std::string(const Json& record, const std::string& where)>;

/// Makes what knows questions by their ids, fresh for each file. Of an id that several samples have, a record is of the
/// one that its metadata names ({"repeat": 2}), as the journal writes it, and else of the next: the records of one id
/// stand in their order.
std::function<KeyOf()> question_keys(const std::vector<Sample>& samples);

/// Lines {question_id, prompt, text, answer_id, model_id, metadata} as LLaVA's evaluation scripts write them. Beside
/// it, `<file>.fingerprint` says which model, plan, prompt, protocol and shard the answers belong to. MMBench's lines
/// hold round_id, options and option_char as well. For one thread; a lock on the file keeps other processes out.
class AnswerJournal {
 public:
  /// Reads what is there. A last line that a kill cut short is dropped; any other damage, or another fingerprint, is a
  /// UserError and the file stays as it is. So is a journal that another process holds.
  AnswerJournal(const fs::path& path, const std::string& fingerprint, const KeyOf& key_of = question_id_text);
  ~AnswerJournal();
  AnswerJournal(const AnswerJournal&) = delete;
  AnswerJournal& operator=(const AnswerJournal&) = delete;

  const std::map<std::string, std::string>& answers() const { return answers_; }
  void add(const Sample& sample, const std::string& text, const std::string& model);
  /// Appends what was added since to the file, where a killed process leaves it. Once a second it is also synced to the
  /// disk, for the machine's own end, and so it is on `sync`. UserError naming the file on failure.
  void flush(bool sync = false);
  /// The end: the file's lines in the order of these questions, each of which it answers; in one step, so that a killed
  /// process leaves all of them in one order or the other. Nothing may be added afterwards.
  void arrange(const std::vector<const Sample*>& order);

 private:
  void take_up(const std::string& fingerprint, const KeyOf& key_of);
  fs::path path_;
  std::map<std::string, std::string> answers_;  // question_key -> text
  std::map<std::string, std::string> lines_;    // question_key -> its line in the file, of repeated ones the last
  std::string pending_;
  std::chrono::steady_clock::time_point synced_ = std::chrono::steady_clock::now();
  int descriptor_ = -1;
};

}  // namespace yopo
