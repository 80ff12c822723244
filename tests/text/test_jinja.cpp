// python/chat_templates holds it against Jinja itself; here is what must not depend on that.
#include "text/jinja.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

std::string rendered(const std::string& text, const Json& variables = Json::object()) {
  return Jinja(text, "file").render(variables);
}

TEST(Jinja, WritesWhatItSays) {
  EXPECT_EQ(rendered("a{{ 'b' }}{# c #}d\n"), "abd");
  EXPECT_EQ(
      rendered(
          "{% for x in [1, 2, 3] if x != 2 %}{{ loop.index }}:{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}"),
      "1:1, 2:3");
  EXPECT_EQ(rendered("{% set n = namespace(count=0) %}{% for x in m %}{% set n.count = n.count + 1 %}{% set gone = x "
                     "%}{% endfor %}"
                     "{{ n.count }}{{ gone }}",
                     {{"m", {1, 2}}}),
            "2");
  EXPECT_EQ(rendered("{{ m[0]['role'].upper() + ': ' + (m[-1].text | trim) }}{{ m[1:] | length }}{{ m[7] }}",
                     {{"m", Json::array({{{"role", "user"}}, {{"text", " x "}}})}}),
            "USER: x1");
  EXPECT_EQ(rendered("{{ 'yes' if a is defined and a is not none else 'no' }}{{ 1 if b }}", {{"a", nullptr}}), "no");
}

TEST(Jinja, TakesBlanksAwayAsTheReferenceDoes) {
  EXPECT_EQ(rendered("  {% if true %}\n  x\n  {% endif %}\ny"), "  x\ny");
  EXPECT_EQ(rendered("a {{- 'b' -}} \n c"), "abc");
  EXPECT_EQ(rendered("a\n  {%+ if true %}b{% endif +%}\nc"), "a\n  b\nc");
  EXPECT_EQ(rendered("a\r\nb\n\n"), "a\nb\n");
}

TEST(Jinja, RefusesWhatItDoesNotKnowWhereItWouldRun) {
  EXPECT_EQ(rendered("{% if false %}{{ x | tojson(indent=4) }}{{ strftime_now('%Y') }}{% endif %}ok"), "ok");
  EXPECT_USER_ERROR(rendered("a\n{{ x | tojson }}"), "file: line 2: the filter 'tojson' is not supported");
  EXPECT_USER_ERROR(rendered("{{ strftime_now('%Y') }}"), "the function 'strftime_now' is not supported");
  EXPECT_USER_ERROR(rendered("{{ raise_exception('no\n') }}"), "refuses the conversation: no\\x0a");
  EXPECT_USER_ERROR(rendered("{{ [1] }}"), "array written out as text");
  EXPECT_USER_ERROR(rendered("{{ 'a' + 1 }}"), "'+' of string and number");
  EXPECT_USER_ERROR(rendered("{{ nothing.more }}"), "'more' of something undefined");
  EXPECT_USER_ERROR(rendered("{% macro f() %}{% endmacro %}"), "the statement 'macro' is not supported");
  for (const char* broken :
       {"{% if %}", "{{ 'a }}", "{% if a %}", "{{ a ", "{# a", "{% endif %}", "{{ (a }}", "{{ a b }}", "{{ }}",
        "{% for in x %}{% endfor %}", "{{ 'a' if }}", "{{ a[ }}", "{{ 1.5 }}", "{{ 1 < 2 < 3 }}", "{{ ) }}",
        "{{ '\\x41' }}", "{% set a.b = 1 %}", "{{ ? }}"})
    EXPECT_THROW(rendered(broken), UserError) << broken;
}

TEST(Jinja, EndsWhateverTheTextSays) {
  const auto repeated = [](const std::string& text, int count) {
    std::string all;
    for (int i = 0; i < count; ++i) all += text;
    return all;
  };
  EXPECT_USER_ERROR(rendered("{{ " + repeated("(", 5000) + " }}"), "parts");
  EXPECT_USER_ERROR(rendered("{{ " + repeated("(", 400) + "1" + repeated(")", 400) + " }}"), "nested deeper");
  EXPECT_USER_ERROR(rendered("{{ " + repeated("-", 90) + "1 }}"), "nested deeper");
  EXPECT_USER_ERROR(rendered(repeated("{% if true %}", 5000)), "nested deeper");
  EXPECT_USER_ERROR(rendered(repeated("{% if true %}{% elif true %}", 5000)), "nested deeper");
  const std::string list = "{% set l = namespace(x=['a','a','a','a','a','a','a','a'], t='aaaaaaaa') %}";
  const std::string twice = "{% set l.x = l.x + l.x %}", longer = "{% set l.t = l.t ~ l.t %}";
  EXPECT_USER_ERROR(rendered(list + repeated(twice, 60)), "a list of more than");
  EXPECT_USER_ERROR(rendered(list + repeated(longer, 60)), "a text of more than");
  EXPECT_USER_ERROR(rendered(list + repeated(longer, 15) + "{{ l.t.replace('a', l.t) }}"), "may grow too large");
  EXPECT_USER_ERROR(
      rendered(list + repeated(twice, 12) +
               "{% for a in l.x %}{% for b in l.x %}{% for c in l.x %}{% endfor %}{% endfor %}{% endfor %}"),
      "too many steps");
  EXPECT_USER_ERROR(
      rendered(list + repeated(longer, 15) + "{% for a in l.x %}" + repeated("{{ l.t }}", 50) + "{% endfor %}"),
      "writes too much");
}

}  // namespace
}  // namespace yopo
