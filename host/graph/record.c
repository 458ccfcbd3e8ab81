/* Work recorded as one piece, whoever puts it on the stream: a plan's calls, or those of several. */
#include "graph.h"

fgsm_status fg_record(struct fg_device *device, void *stream, fg_issue_fn issue, void *ctx,
                      void **recording) {
  const struct fg_backend *backend = device->backend;
  FG_TRY(backend->capture_begin(device, stream));
  fgsm_status status = issue(ctx, stream);
  if (status != FGSM_OK) { /* the stream must stop capturing; the failure is the work's */
    char why[1024];
    void *part = NULL;
    fg_error_copy(why, sizeof why);
    if (backend->capture_end(device, stream, &part) == FGSM_OK)
      backend->recording_destroy(device, part);
    return fg_error_restore(status, why);
  }
  return backend->capture_end(device, stream, recording);
}
