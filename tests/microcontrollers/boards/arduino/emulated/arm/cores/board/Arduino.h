/* As much of the Arduino language as the self-test's sketch uses. */
#ifndef EMULATED_ARDUINO_H
#define EMULATED_ARDUINO_H
#include <stdint.h>
#ifdef __cplusplus
struct SerialPort {
  void begin(unsigned long baud);
  void println(const char *text);
  void println(long value);
  void println(int value) { println(static_cast<long>(value)); }
};
extern SerialPort Serial;
extern "C" {
#endif
void setup(void);
void loop(void);
void delay(unsigned long milliseconds);
#ifdef __cplusplus
}
#endif
#endif
