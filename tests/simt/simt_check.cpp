/* The race-check build: kernels are compiled with -fsanitize=thread and linked without its runtime,
 * so that every access calls the __tsan_ functions below.
 *
 * For each cell of device and shared memory it is kept who last wrote it and which two threads last
 * read it, with the barriers that they had passed. From that follow races within a warp, a block
 * and between blocks, reads of shared memory that nobody wrote, accesses outside of any allocation,
 * host pointers handed to kernels, and misaligned accesses. Lanes of one warp are ordered by
 * __syncwarp and __syncthreads alone, as CUDA's guide has it. Each finding is reported once per
 * pair of lines. */
#include "simt_internal.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>
#include <unistd.h>

extern "C" {
extern char __executable_start[], _end[];
}

namespace simt {
namespace {
enum { FORGOTTEN = 0xFFFF }; /* a thread: somebody wrote, it is not known who */
struct Visit {               /* block 0: nobody */
  uint32_t block = 0, block_epoch = 0;
  uint16_t thread = 0, warp_epoch = 0;
  uint32_t site = 0;
  bool atomic = false;
};
struct Cell {
  Visit write, read[2];
};
struct Region {
  char *p, *first, *last; /* first..last may be touched; the rest is the test harness's */
  size_t bytes;
  Space space;
  unsigned grain;
  std::vector<Cell> cells;
};
struct Site {
  const void *pc;
  const char *file;
  int line;
};
std::vector<Site> sites(1);
std::unordered_map<const void *, uint32_t> site_of_pc;
std::map<std::pair<std::string, int>, uint32_t> site_of_line;
std::set<std::string> reported;
Region *recent;

std::map<char *, Region> &regions() {
  static std::map<char *, Region> all;
  return all;
}

std::string from_addr2line(const void *pc) {
  char exe[256] = "", command[400], line[512] = "";
  uintptr_t at = (uintptr_t)pc - 1;
  if (readlink("/proc/self/exe", exe, sizeof exe - 1) < 0)
    return "";
  if ((uintptr_t)__executable_start > 0x500000000000) /* position-independent */
    at -= (uintptr_t)__executable_start;
  std::snprintf(command, sizeof command, "addr2line -s -e '%s' 0x%lx 2>/dev/null", exe,
                (unsigned long)at);
  if (FILE *f = popen(command, "r")) {
    if (!std::fgets(line, sizeof line, f))
      line[0] = 0;
    pclose(f);
  }
  line[std::strcspn(line, "\n")] = 0;
  return line[0] == '?' ? "" : line;
}

std::string where(uint32_t site) {
  static std::map<uint32_t, std::string> known;
  std::string &text = known[site];
  if (!text.empty())
    return text;
  const Site &s = sites[site];
  char pc[64];
  std::snprintf(pc, sizeof pc, "pc %p", s.pc);
  text = s.file ? std::string(s.file) + ":" + std::to_string(s.line) : from_addr2line(s.pc);
  if (text.empty())
    text = pc;
  return text;
}

uint32_t site_of(const void *pc, const Loc &loc) {
  if (pc) {
    auto found = site_of_pc.emplace(pc, (uint32_t)sites.size());
    if (found.second)
      sites.push_back({pc, nullptr, 0});
    return found.first->second;
  }
  static struct {
    Loc loc{"", 0, 0};
    uint32_t site = 0;
  } cache[256];
  auto &c = cache[loc.line & 255];
  if (c.site && c.loc.file == loc.file && c.loc.line == loc.line)
    return c.site;
  auto found =
      site_of_line.emplace(std::make_pair(std::string(loc.file), loc.line), (uint32_t)sites.size());
  if (found.second)
    sites.push_back({nullptr, strdup(loc.file), loc.line});
  c.loc = loc;
  return c.site = found.first->second;
}

bool is_news(const char *what, uint32_t site) {
  return reported.insert(what + where(site)).second;
}

bool conflicts(const Visit &before, const Visit &now, Space space) {
  if (before.block < S.first_block || (before.atomic && now.atomic))
    return false; /* launches are ordered */
  if (before.block != now.block)
    return space == GLOBAL;
  if (before.thread == now.thread || before.block_epoch != now.block_epoch)
    return false;
  return before.thread / 32 != now.thread / 32 || before.warp_epoch == now.warp_epoch;
}

void report_race(const char *what, const Visit &before, const Visit &now, const char *p,
                 const Region *r) {
  if (!reported.insert(what + where(before.site) + "|" + where(now.site)).second)
    return;
  error("%s RACE at %s+%zu: now thread %u at %s; before: block #%u thread %u at %s%s", what,
        r->space == SHARED ? "shared" : "global", (size_t)(p - r->p), now.thread,
        where(now.site).c_str(), before.block - S.first_block, before.thread,
        where(before.site).c_str(), before.block != now.block ? " (another block)" : "");
}

/* The allocation that holds [p, p + n), NULL (and said) if none does. */
Region *region_at(const char *p, unsigned n, uint32_t site) {
  Region *r = recent;
  if (!r || p < r->p || p >= r->p + r->bytes) {
    auto it = regions().upper_bound((char *)p);
    r = nullptr;
    if (it != regions().begin() && p < (--it)->second.p + it->second.bytes)
      r = &it->second;
  }
  if (!r) {
    bool constant = p >= __executable_start && p < _end;
    if (!constant && is_news("outside", site))
      error("access of %u bytes OUTSIDE device and shared memory (%p) at %s", n, (const void *)p,
            where(site).c_str());
    return nullptr;
  }
  recent = r;
  if (p >= r->first && p + n <= r->last)
    return r;
  if (is_news("beyond", site))
    error("access of %u bytes runs past the bounds of a %s allocation at %s", n,
          r->space == SHARED ? "shared" : "global", where(site).c_str());
  return nullptr;
}

/* Cells are as fine as the finest access so far; refining them forgets. */
void refine(Region *r, const char *p, unsigned n) {
  unsigned grain = r->grain;
  while (grain > 1 && (n < grain || ((uintptr_t)p & (grain - 1))))
    grain >>= 1;
  if (grain == r->grain && !r->cells.empty())
    return;
  r->grain = grain;
  Cell unknown;
  if (!r->cells.empty()) /* not to be called unwritten */
    unknown.write.block = r->space == SHARED ? S.block : 0;
  unknown.write.thread = FORGOTTEN;
  r->cells.assign(r->bytes / grain + 1, unknown);
}

void check_read(Cell &c, const Visit &now, const char *p, Region *r) {
  bool untold = c.write.thread == FORGOTTEN;
  if (!untold && conflicts(c.write, now, r->space))
    report_race("read-after-write", c.write, now, p, r);
  else if (r->space == SHARED && c.write.block != S.block && is_news("unwritten", now.site))
    error("read of shared memory never written in this block, at %s", where(now.site).c_str());
  Visit *v = c.read;
  if (v[0].block < S.first_block || (v[0].block == now.block && v[0].thread == now.thread))
    v[0] = now;
  else if (v[0].block_epoch != now.block_epoch || v[0].block != now.block) {
    v[1] = v[0];
    v[0] = now;
  } else
    v[1] = now;
}

void check_write(Cell &c, const Visit &now, const char *p, Region *r) {
  if (c.write.thread != FORGOTTEN && conflicts(c.write, now, r->space))
    report_race("write-after-write", c.write, now, p, r);
  if (conflicts(c.read[0], now, r->space))
    report_race("write-after-read", c.read[0], now, p, r);
  else if (conflicts(c.read[1], now, r->space))
    report_race("write-after-read", c.read[1], now, p, r);
  c.write = now;
}

void check(const char *p, unsigned n, Access kind, uint32_t site) {
  Region *r = region_at(p, n, site);
  if (!r)
    return;
  if (n <= 16 && !(n & (n - 1)) && ((uintptr_t)p & (n - 1)) && is_news("misaligned", site))
    error("misaligned %u-byte access %p at %s", n, (const void *)p, where(site).c_str());
  refine(r, p, n);
  Visit now;
  now.block = S.block;
  now.block_epoch = S.block_epoch;
  now.thread = (uint16_t)S.thread;
  now.warp_epoch = (uint16_t)S.warp_epoch[S.thread / 32];
  now.site = site;
  now.atomic = kind == ATOMIC;
  size_t first = (size_t)(p - r->p) / r->grain, count = (n + r->grain - 1) / r->grain;
  for (size_t c = first; c < first + count; c++) {
    if (kind == READ)
      check_read(r->cells[c], now, p, r);
    else
      check_write(r->cells[c], now, p, r);
  }
}

void touch(const void *p, unsigned n, Access kind, const void *pc) {
  access((const char *)p, n, kind, pc, Loc{"", 0, 0});
}
} // namespace

void region_add(void *p, size_t bytes, Space space) {
  char *at = (char *)p;
  regions()[at] = Region{at, at, at + bytes, bytes, space, 4, {}};
  recent = nullptr;
}
void region_del(void *p) {
  regions().erase((char *)p);
  recent = nullptr;
}

void access(const char *p, unsigned n, Access kind, const void *pc, Loc loc) {
  if (!S.in_kernel || S.thread == NO_THREAD)
    return;
  if ((p >= S.stacks && p < S.stacks_end) || (p >= S.args && p < S.args_end))
    return;
  check(p, n, kind, site_of(pc, loc));
}
void atomic_access(void *p, size_t bytes, const void *pc) {
  touch(p, (unsigned)bytes, ATOMIC, pc);
}
} // namespace simt

/* The test harness poisons the two ends of a buffer. */
extern "C" void simt_poison(void *p, size_t bytes) {
  auto it = simt::regions().upper_bound((char *)p);
  if (it == simt::regions().begin())
    return;
  simt::Region &r = (--it)->second;
  if ((char *)p == r.p)
    r.first = r.p + bytes;
  else if ((char *)p + bytes == r.p + r.bytes)
    r.last = (char *)p;
}
extern "C" void simt_unpoison(void *p, size_t) {
  auto it = simt::regions().find((char *)p);
  if (it == simt::regions().end())
    return;
  it->second.first = it->second.p;
  it->second.last = it->second.p + it->second.bytes;
}

#define PC __builtin_return_address(0)
#define SIMT_TSAN(n)                                                                               \
  void __tsan_read##n(void *p) {                                                                   \
    simt::touch(p, n, simt::READ, PC);                                                             \
  }                                                                                                \
  void __tsan_write##n(void *p) {                                                                  \
    simt::touch(p, n, simt::WRITE, PC);                                                            \
  }                                                                                                \
  void __tsan_unaligned_read##n(void *p) {                                                         \
    simt::touch(p, n, simt::READ, PC);                                                             \
  }                                                                                                \
  void __tsan_unaligned_write##n(void *p) {                                                        \
    simt::touch(p, n, simt::WRITE, PC);                                                            \
  }                                                                                                \
  void __tsan_read_write##n(void *p) {                                                             \
    simt::touch(p, n, simt::WRITE, PC);                                                            \
  }
extern "C" {
void __tsan_init(void) {
}
void __tsan_func_entry(void *) {
}
void __tsan_func_exit(void) {
}
SIMT_TSAN(1)
SIMT_TSAN(2)
SIMT_TSAN(4)
SIMT_TSAN(8)
SIMT_TSAN(16)
void __tsan_read_range(void *p, unsigned long n) {
  simt::touch(p, (unsigned)n, simt::READ, PC);
}
void __tsan_write_range(void *p, unsigned long n) {
  simt::touch(p, (unsigned)n, simt::WRITE, PC);
}
void *__tsan_memcpy(void *to, const void *from, unsigned long n) {
  simt::touch(from, (unsigned)n, simt::READ, PC);
  simt::touch(to, (unsigned)n, simt::WRITE, PC);
  return std::memcpy(to, from, n);
}
void *__tsan_memmove(void *to, const void *from, unsigned long n) {
  simt::touch(from, (unsigned)n, simt::READ, PC);
  simt::touch(to, (unsigned)n, simt::WRITE, PC);
  return std::memmove(to, from, n);
}
void *__tsan_memset(void *to, int value, unsigned long n) {
  simt::touch(to, (unsigned)n, simt::WRITE, PC);
  return std::memset(to, value, n);
}
}
