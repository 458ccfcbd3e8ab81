/* OUT.records.csv: a row per sample, in dataset order. Numbers are written with a decimal point and
 * so many digits that they read back exactly; the caller's thread is in the "C" locale. */
#include "job.h"

void fg_records_head(struct fg_text *text, bool minimal) {
  fg_text_add(text,
              "index,label,clean_prediction,adversarial_prediction,clean_loss,"
              "adversarial_loss,gradient_l1,zero_gradient_share,linf,l2,flags%s\n",
              minimal ? ",minimal_eps" : "");
}

static void add_flags(struct fg_text *text, uint32_t flags) {
  static const struct {
    uint32_t flag;
    const char *name;
  } names[] = {{FGSM_FLAG_ZERO_GRADIENT, "zero-gradient"},
               {FGSM_FLAG_NONFINITE, "nonfinite"},
               {FGSM_FLAG_OFF_LATTICE, "off-lattice"},
               {FGSM_FLAG_UNVERIFIED, "unverified"},
               {FGSM_FLAG_CLEAN_UNSEEN, "clean-unseen"}};
  const char *separator = "";
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (flags & names[i].flag) {
      fg_text_add(text, "%s%s", separator, names[i].name);
      separator = "|";
    }
}

static void add_class(struct fg_text *text, int32_t class, bool known) {
  if (known)
    fg_text_add(text, ",%d", (int)class);
  else
    fg_text_add(text, ",");
}

static void add_loss(struct fg_text *text, double loss, bool known) {
  if (known)
    fg_text_add(text, ",%.9g", loss);
  else
    fg_text_add(text, ",");
}

void fg_records_add(struct fg_text *text, int64_t n, const int64_t *index, const int64_t *labels,
                    const fgsm_result *results, bool minimal) {
  for (int64_t i = 0; i < n; i++) {
    const fgsm_result *r = &results[i];
    int64_t label = labels[i] >= 0 ? labels[i] : r->clean_prediction;
    bool seen = !(r->flags & FGSM_FLAG_CLEAN_UNSEEN), verified = !(r->flags & FGSM_FLAG_UNVERIFIED);
    fg_text_add(text, "%lld,%lld", (long long)index[i], (long long)label);
    add_class(text, r->clean_prediction, seen);
    add_class(text, r->adversarial_prediction, verified);
    add_loss(text, (double)r->clean_loss, seen);
    add_loss(text, (double)r->adversarial_loss, verified);
    fg_text_add(text, ",%.9g,%.9g,%.9g,%.9g,", (double)r->gradient_l1,
                (double)r->zero_gradient_share, (double)r->linf, (double)r->l2);
    add_flags(text, r->flags);
    if (minimal)
      fg_text_add(text, ",%.9g", (double)r->minimal_eps);
    fg_text_add(text, "\n");
  }
}
