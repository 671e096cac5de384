// The core: prints by semihosting, runs the sketch's loop three times and ends.
#include "Arduino.h"
extern "C" {
#include "runner_io.h"
}

SerialPort Serial;

void SerialPort::begin(unsigned long) {}

void SerialPort::println(const char *text) {
  io_print(text);
  io_print("\n");
}

void SerialPort::println(long value) {
  char text[12], *digit = text + sizeof text - 1;
  unsigned long rest = value < 0 ? 0ul - static_cast<unsigned long>(value) : static_cast<unsigned long>(value);
  *digit = 0;
  do {
    *--digit = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest);
  if (value < 0) *--digit = '-';
  println(digit);
}

void delay(unsigned long) {}

int main() {
  setup();
  for (int turn = 0; turn < 3; ++turn) loop();
  return 0;
}
