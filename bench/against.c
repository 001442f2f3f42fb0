/* SPDX-License-Identifier: Apache-2.0 */
#include "against.h"

#include <stdio.h>

#include "child.h"
#include "options.h"
#include "report.h"

static double number(const json_t *line, const char *name)
{
    return json_number_value(json_object_get(line, name));
}

static void one_round(struct child children[2], uint64_t round, struct summary sides[2], struct summary *ratios)
{
    json_t *lines[2];
    for (uint64_t n = 0; n < 2; n++)
        lines[(round + n) % 2] = child_turn(&children[(round + n) % 2]);
    double ratio = number(lines[0], "gib_s") / number(lines[1], "gib_s");
    for (int n = 0; round > 0 && n < 2; n++) {
        summary_add(&sides[n], "gib_s", number(lines[n], "gib_s"));
        summary_add(&sides[n], "seconds", number(lines[n], "seconds"));
        summary_add(&sides[n], "cpu_core_s_per_gib", number(lines[n], "cpu_core_s_per_gib"));
    }
    if (round > 0) {
        summary_add(ratios, "ratio", ratio);
        report_line(json_pack("{s:s, s:I, s:f, s:o, s:o}", "what", "round", "round", (json_int_t)round, "ratio", ratio,
                              children[0].name, lines[0], children[1].name, lines[1]));
        return;
    }
    json_decref(lines[0]); /* it paid for pages */
    json_decref(lines[1]);
}

void against_run(const char *command, const char *path, const struct side sides[2], uint64_t rounds)
{
    struct child   children[2];
    struct summary of_sides[2] = { 0 }, ratios = { 0 };
    json_t        *more = json_object();

    for (int n = 0; n < 2; n++)
        child_start(&children[n], sides[n].name, sides[n].run, sides[n].user);
    for (uint64_t round = 0; round <= rounds; round++)
        one_round(children, round, of_sides, &ratios);
    for (int n = 2; n-- > 0;)
        child_end(&children[n]);
    for (int n = 0; n < 2; n++)
        json_object_set_new(more, sides[n].name, summary_json(&of_sides[n]));
    json_object_set_new(more, "rounds", json_integer((json_int_t)rounds));
    summary_report(&ratios, command, path, more);
}
