/* The memory of which convolution candidate was fastest; owned by the device. */
#ifndef FG_CPU_CONV_H
#define FG_CPU_CONV_H

struct fg_cpu_choices;
struct fg_cpu_choices *fg_cpu_choices_create(void); /* NULL: no memory */
void fg_cpu_choices_destroy(struct fg_cpu_choices *choices);

#endif
