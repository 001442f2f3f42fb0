/* SPDX-License-Identifier: Apache-2.0 */
/* Traces: lines become requests, and requests a trace in the order of time. Formats are told apart by a file's first
 * line; a CSV has no quoted fields. */
#include "sim/sim_trace.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SECOND      UINT64_C(1000000000)
#define SECONDS_MAX 1e9
#define TOKENS_MAX  1e9

enum { COUNT_A_MINUTE_MAX = 1000000, MINUTES = 1440, FIELDS_USED = 4 };

struct reader {
    FILE                           *in;
    const char                     *name;
    const struct sim_trace_options *options;
    struct sim_trace               *trace;
    const struct csv               *csv; /* NULL: JSON */
    char                           *error;
    size_t                          error_bytes;

    char    *text; /* the line, its end cut off */
    size_t   length;
    uint64_t line;
    char    *fields[SIM_TRACE_COLUMNS_MAX];
    uint32_t fields_count, columns;
    uint32_t used[FIELDS_USED]; /* columns, in the order of csv->columns */

    uint32_t  capacity, models_capacity;
    uint32_t *buckets; /* of names: index + 1 */
    uint32_t  buckets_count;
};

static bool refuse(struct reader *r, const char *what, ...) __attribute__((format(printf, 2, 3)));

static bool refuse(struct reader *r, const char *what, ...)
{
    va_list args;
    int     n = snprintf(r->error, r->error_bytes, "%s:%" PRIu64 ": ", r->name, r->line);
    va_start(args, what);
    if (n >= 0 && (size_t)n < r->error_bytes)
        vsnprintf(r->error + n, r->error_bytes - (size_t)n, what, args);
    va_end(args);
    return false;
}

/* ---- lines and fields ---- */

/* false: the end, or a line that is refused; *ended tells which. */
static bool next_line(struct reader *r, bool *ended)
{
    int c = getc(r->in);

    *ended = c == EOF && !ferror(r->in);
    r->length = 0;
    if (*ended)
        return false;
    r->line++;
    for (; c != EOF && c != '\n'; c = getc(r->in)) {
        if (r->length == SIM_TRACE_LINE_MAX)
            return refuse(r, "longer than %d bytes", SIM_TRACE_LINE_MAX);
        if (c == '\0')
            return refuse(r, "a zero byte");
        r->text[r->length++] = (char)c;
    }
    if (ferror(r->in))
        return refuse(r, "%s", strerror(errno));
    if (r->length > 0 && r->text[r->length - 1] == '\r')
        r->length--;
    r->text[r->length] = '\0';
    return r->length > 0 || refuse(r, "an empty line");
}

static bool split(struct reader *r)
{
    char *at = r->text;

    r->fields_count = 0;
    if (memchr(r->text, '"', r->length))
        return refuse(r, "quoted fields are not read");
    for (;;) {
        if (r->fields_count == SIM_TRACE_COLUMNS_MAX)
            return refuse(r, "more than %d fields", SIM_TRACE_COLUMNS_MAX);
        r->fields[r->fields_count++] = at;
        at = strchr(at, ',');
        if (!at)
            return true;
        *at++ = '\0';
    }
}

/* 0 to `max`, in decimal; no sign, no name for infinity, nothing hexadecimal. */
static bool read_number(struct reader *r, const char *what, const char *text, double max, double *out)
{
    char  *end;
    double value;

    if (text[0] < '0' || text[0] > '9' || text[strspn(text, "0123456789.eE+-")] != '\0')
        return refuse(r, "%s is not a number: '%.40s'", what, text);
    value = strtod(text, &end);
    if (*end != '\0')
        return refuse(r, "%s is not a number: '%.40s'", what, text);
    if (!(value <= max))
        return refuse(r, "%s is past %.0f: '%.40s'", what, max, text);
    *out = value;
    return true;
}

static uint64_t to_ns(double seconds)
{
    return (uint64_t)(seconds * 1e9 + 0.5);
}

static bool digits(const char **at, uint32_t count, uint32_t *out)
{
    uint32_t value = 0;
    for (uint32_t n = 0; n < count; n++, (*at)++) {
        if (**at < '0' || **at > '9')
            return false;
        value = value * 10 + (uint32_t)(**at - '0');
    }
    *out = value;
    return true;
}

static bool sign(const char **at, char c)
{
    return *(*at)++ == c;
}

/* Days since 1970-01-01 in the Gregorian calendar. */
static uint64_t days_before(uint32_t year, uint32_t month, uint32_t day)
{
    uint64_t y = month <= 2 ? year - 1 : year;
    uint64_t of_year = (153 * (month + (month > 2 ? 0 : 12) - 3) + 2) / 5 + day - 1; /* from March on */
    return 365 * y + y / 4 - y / 100 + y / 400 + of_year - 719468;
}

/* "2024-11-15 16:57:50", and up to nine digits of a second. */
static bool read_time(struct reader *r, const char *text, uint64_t *ns_out)
{
    static const uint8_t days_of[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    uint32_t             year, month, day, hour, minute, second;
    uint64_t             ns = 0, unit = SECOND;
    const char          *at = text;

    /* Each step looks at one character and stops at the first that is wrong, so at the end of the text too. */
    bool good = digits(&at, 4, &year) && sign(&at, '-') && digits(&at, 2, &month) && sign(&at, '-') &&
                digits(&at, 2, &day) && sign(&at, ' ') && digits(&at, 2, &hour) && sign(&at, ':') &&
                digits(&at, 2, &minute) && sign(&at, ':') && digits(&at, 2, &second);
    if (good && *at == '.')
        for (at++; *at >= '0' && *at <= '9' && unit > 1; at++) {
            unit /= 10;
            ns += (uint64_t)(*at - '0') * unit;
        }
    if (!good || *at != '\0' || (at > text && at[-1] == '.') || year < 1970 || year > 2200 || month < 1 || month > 12 ||
        day < 1 || day > days_of[month - 1] || hour > 23 || minute > 59 || second > 59)
        return refuse(r, "not a time: '%.40s'", text);
    *ns_out = ((days_before(year, month, day) * 24 + hour) * 60 + minute) * 60 * SECOND + second * SECOND + ns;
    return true;
}

/* ---- models and requests ---- */

static void *must(void *memory)
{
    if (!memory) {
        fputs("sim_trace: out of memory\n", stderr);
        abort();
    }
    return memory;
}

static uint64_t hash_of(const char *text)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * UINT64_C(1099511628211);
    return hash;
}

static uint32_t *bucket_of(const struct reader *r, const char *name)
{
    uint32_t at = (uint32_t)hash_of(name) & (r->buckets_count - 1);
    while (r->buckets[at] && strcmp(r->trace->models[r->buckets[at] - 1], name) != 0)
        at = (at + 1) & (r->buckets_count - 1);
    return &r->buckets[at];
}

static bool find_model(struct reader *r, const char *name, uint32_t *out)
{
    struct sim_trace *t = r->trace;
    uint32_t         *bucket;

    if (*name == '\0')
        return refuse(r, "no model");
    bucket = bucket_of(r, name);
    if (*bucket == 0) {
        if (t->models_count == SIM_TRACE_MODELS_MAX)
            return refuse(r, "more than %d models", SIM_TRACE_MODELS_MAX);
        t->models[t->models_count] = must(strdup(name));
        *bucket = ++t->models_count;
    }
    *out = *bucket - 1;
    return true;
}

static bool add(struct reader *r, uint64_t at_ns, uint64_t use_ns, uint32_t model)
{
    struct sim_trace *t = r->trace;

    if (t->count == SIM_TRACE_REQUESTS_MAX)
        return refuse(r, "more than %d requests", SIM_TRACE_REQUESTS_MAX);
    if (t->count == r->capacity) {
        r->capacity = r->capacity ? r->capacity * 2 : 1024;
        t->requests = must(realloc(t->requests, r->capacity * sizeof *t->requests));
    }
    t->requests[t->count++] = (struct sim_trace_request){ at_ns, use_ns, model };
    return true;
}

static uint64_t use_of(const struct reader *r, double tokens_in, double tokens_out)
{
    double in_per_s = r->options->tokens_in_per_s > 0 ? r->options->tokens_in_per_s : 5000;
    double out_per_s = r->options->tokens_out_per_s > 0 ? r->options->tokens_out_per_s : 50;
    double s = tokens_in / in_per_s + tokens_out / out_per_s;
    return to_ns(s < SECONDS_MAX ? s : SECONDS_MAX);
}

/* ---- formats ---- */

/* What did not come so far as to have a model (it is PENDING) is of one that has no name: 87 models with it. */
static bool gentd26(struct reader *r, char *const *field)
{
    uint64_t at;
    uint32_t model;
    double   s = 0; /* what failed has no time */

    if (!read_time(r, field[0], &at) ||
        (*field[1] && !read_number(r, "exec_time_seconds", field[1], SECONDS_MAX, &s)) ||
        !find_model(r, *field[2] ? field[2] : "(none)", &model))
        return false;
    return add(r, at, to_ns(s > 1 ? s : 1), model); /* it knows nothing shorter than its second */
}

static bool azure_llm(struct reader *r, char *const *field)
{
    uint64_t at;
    double   in, out;

    if (!read_time(r, field[0], &at) || !read_number(r, "ContextTokens", field[1], TOKENS_MAX, &in) ||
        !read_number(r, "GeneratedTokens", field[2], TOKENS_MAX, &out))
        return false;
    return add(r, at, use_of(r, in, out), 0);
}

static bool azure_2021(struct reader *r, char *const *field)
{
    char     name[512];
    uint32_t model;
    double   end, s;
    int      n = snprintf(name, sizeof name, "%s/%s", field[0], field[1]);

    if (n < 0 || (size_t)n >= sizeof name)
        return refuse(r, "a name of more than %zu bytes", sizeof name - 1);
    if (!*field[0] || !*field[1])
        return refuse(r, "no app or no func");
    if (!read_number(r, "end_timestamp", field[2], SECONDS_MAX, &end) ||
        !read_number(r, "duration", field[3], SECONDS_MAX, &s) || !find_model(r, name, &model))
        return false;
    /* What ended early in the trace began before it: all are moved by the longest duration, and back when the first of
     * them is known. */
    return add(r, to_ns(SECONDS_MAX) + to_ns(end) - to_ns(s), to_ns(s), model);
}

static bool azure_2019(struct reader *r, char *const *field)
{
    uint64_t use_ns = (r->options->use_ms ? r->options->use_ms : 1000) * 1000000;
    uint32_t model;

    if (!find_model(r, field[0], &model))
        return false;
    for (uint64_t minute = 0; minute < MINUTES; minute++) {
        double count;
        if (!read_number(r, "a count", r->fields[r->columns - MINUTES + minute], COUNT_A_MINUTE_MAX, &count))
            return false;
        if (count != floor(count))
            return refuse(r, "a count that is not whole");
        for (uint64_t n = 0; n < (uint64_t)count; n++)
            if (!add(r, minute * 60 * SECOND + n * 60 * SECOND / (uint64_t)count, use_ns, model))
                return false;
    }
    return true;
}

static bool member(struct reader *r, const json_t *root, const char *name, double max, double *out)
{
    const json_t *value = json_object_get(root, name);

    if (!json_is_integer(value))
        return refuse(r, "%s is not a whole number, or not there", name);
    *out = (double)json_integer_value(value);
    return (*out >= 0 && *out <= max) || refuse(r, "%s is not between 0 and %.0f", name, max);
}

static bool mooncake(struct reader *r)
{
    json_error_t e;
    double       ms, in, out;
    json_t      *root = json_loadb(r->text, r->length, JSON_REJECT_DUPLICATES, &e);

    if (!root)
        return refuse(r, "not JSON: %s", e.text);
    bool good = member(r, root, "timestamp", SECONDS_MAX * 1000, &ms) &&
                member(r, root, "input_length", TOKENS_MAX, &in) && member(r, root, "output_length", TOKENS_MAX, &out);
    json_decref(root);
    return good && add(r, (uint64_t)ms * 1000000, use_of(r, in, out), 0);
}

static const struct csv {
    const char *format;
    const char *columns[FIELDS_USED + 1]; /* those used; the first two are what it is known by */
    bool        minutes;                  /* and its last columns are called 1 to 1440 */
    bool        drawn;
    bool (*row)(struct reader *r, char *const *field);
} formats[] = {
    { "gentd26", { "gmt_create", "exec_time_seconds", "checkpoint_model_version_id" }, false, false, gentd26 },
    { "azure-llm", { "TIMESTAMP", "ContextTokens", "GeneratedTokens" }, false, true, azure_llm },
    { "azure-2021", { "app", "func", "end_timestamp", "duration" }, false, false, azure_2021 },
    { "azure-2019", { "HashFunction", "Trigger" }, true, false, azure_2019 },
};

static bool find_column(const struct reader *r, const char *name, uint32_t *out)
{
    for (uint32_t n = 0; n < r->fields_count; n++) {
        if (strcmp(r->fields[n], name) == 0) {
            *out = n;
            return true;
        }
    }
    return false;
}

static bool has_minutes(const struct reader *r)
{
    if (r->fields_count <= MINUTES)
        return false;
    for (uint32_t n = 0; n < MINUTES; n++) {
        char name[12];
        snprintf(name, sizeof name, "%" PRIu32, n + 1);
        if (strcmp(r->fields[r->fields_count - MINUTES + n], name) != 0)
            return false;
    }
    return true;
}

static bool read_header(struct reader *r)
{
    if (r->text[0] == '{') {
        r->trace->format = "mooncake";
        r->trace->drawn = true;
        return true;
    }
    if (!split(r))
        return false;
    r->columns = r->fields_count;
    for (size_t n = 0; n < sizeof formats / sizeof *formats; n++) {
        const struct csv *f = &formats[n];
        uint32_t          column = 0;
        while (f->columns[column] && find_column(r, f->columns[column], &r->used[column]))
            column++;
        if (f->columns[column] || (f->minutes && !has_minutes(r)))
            continue;
        r->csv = f;
        r->trace->format = f->format;
        r->trace->drawn = f->drawn;
        return true;
    }
    return refuse(r, "the first line is of no trace that is known");
}

static bool read_row(struct reader *r)
{
    char *field[FIELDS_USED];

    if (!r->csv)
        return mooncake(r);
    if (!split(r))
        return false;
    if (r->fields_count != r->columns)
        return refuse(r, "%" PRIu32 " fields, and the first line has %" PRIu32, r->fields_count, r->columns);
    for (uint32_t n = 0; n < FIELDS_USED; n++)
        field[n] = r->fields[r->used[n]];
    return r->csv->row(r, field);
}

/* ---- the whole ---- */

static int by_time(const void *a, const void *b)
{
    const struct sim_trace_request *l = *(const struct sim_trace_request *const *)a;
    const struct sim_trace_request *r = *(const struct sim_trace_request *const *)b;
    if (l->at_ns != r->at_ns)
        return l->at_ns < r->at_ns ? -1 : 1;
    return l < r ? -1 : 1;
}

static void put_in_order(struct sim_trace *t)
{
    const struct sim_trace_request **order = must(calloc(t->count, sizeof *order));
    struct sim_trace_request        *sorted = must(calloc(t->count, sizeof *sorted));

    for (uint32_t n = 0; n < t->count; n++)
        order[n] = &t->requests[n];
    qsort(order, t->count, sizeof *order, by_time);
    for (uint32_t n = 0; n < t->count; n++) {
        sorted[n] = *order[n];
        sorted[n].at_ns -= order[0]->at_ns;
    }
    free(order);
    free(t->requests);
    t->requests = sorted;
}

static uint64_t draw(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void shuffle(uint32_t *list, uint32_t count, uint64_t *state)
{
    for (uint32_t n = count; n > 1; n--) {
        uint32_t other = (uint32_t)(draw(state) % n), kept = list[n - 1];
        list[n - 1] = list[other];
        list[other] = kept;
    }
}

static void draw_models(struct sim_trace *t, uint32_t models, uint64_t seed)
{
    double   *up_to = must(calloc(models, sizeof *up_to));
    uint32_t *at_rank = must(calloc(models, sizeof *at_rank));
    uint64_t  state = seed, hour = UINT64_MAX;
    double    sum = 0;

    for (uint32_t n = 0; n < models; n++) {
        char name[32];
        snprintf(name, sizeof name, "model-%05" PRIu32, n);
        t->models[n] = must(strdup(name));
        at_rank[n] = n;
        up_to[n] = sum += pow(n + 1, -0.9);
    }
    t->models_count = models;
    for (uint32_t n = 0; n < t->count; n++) {
        struct sim_trace_request *request = &t->requests[n];
        if (request->at_ns / (3600 * SECOND) != hour) {
            hour = request->at_ns / (3600 * SECOND);
            shuffle(at_rank, models, &state);
        }
        double   dice = (double)(draw(&state) >> 11) / (double)(UINT64_C(1) << 53) * sum;
        uint32_t low = 0, high = models - 1; /* the first rank whose sum is past the dice */
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (up_to[middle] > dice)
                high = middle;
            else
                low = middle + 1;
        }
        request->model = at_rank[low];
    }
    free(up_to);
    free(at_rank);
}

static bool read_all(struct reader *r)
{
    bool ended;

    if (!next_line(r, &ended)) {
        r->line += ended;
        return ended ? refuse(r, "an empty file") : false;
    }
    bool is_row = r->text[0] == '{';
    if (!read_header(r))
        return false;
    do {
        if (is_row && !read_row(r))
            return false;
        is_row = true;
    } while (next_line(r, &ended));
    if (!ended)
        return false;
    return r->trace->count > 0 || refuse(r, "no requests");
}

bool sim_trace_read(FILE *in, const char *name, const struct sim_trace_options *options, struct sim_trace *out,
                    char *error, size_t error_bytes)
{
    uint32_t       models = options->models ? options->models : 100;
    struct reader *r = must(calloc(1, sizeof *r));

    *out = (struct sim_trace){ .models = must(calloc(SIM_TRACE_MODELS_MAX, sizeof *out->models)) };
    *r = (struct reader){
        .in = in,
        .name = name,
        .options = options,
        .trace = out,
        .error = error,
        .error_bytes = error_bytes,
        .text = must(malloc(SIM_TRACE_LINE_MAX + 1)),
        .buckets = must(calloc(2 * SIM_TRACE_MODELS_MAX, sizeof *r->buckets)),
        .buckets_count = 2 * SIM_TRACE_MODELS_MAX,
    };
    bool good = models <= SIM_TRACE_MODELS_MAX ? read_all(r)
                                               : refuse(r, "more than %d models to draw from", SIM_TRACE_MODELS_MAX);
    free(r->text);
    free(r->buckets);
    free(r);
    if (!good) {
        sim_trace_fini(out);
        return false;
    }
    put_in_order(out);
    if (options->requests && options->requests < out->count)
        out->count = options->requests;
    if (out->drawn)
        draw_models(out, models, options->seed);
    return true;
}

void sim_trace_fini(struct sim_trace *trace)
{
    for (uint32_t n = 0; n < trace->models_count; n++)
        free(trace->models[n]);
    free(trace->models);
    free(trace->requests);
    *trace = (struct sim_trace){ 0 };
}
