# SPDX-License-Identifier: Apache-2.0
"""Arguments: what is taken, what is refused with exit 2, and that help is one command away."""

from command import Case, main, sgi

WRONG = (
    [], ["frobnicate"], ["--frobnicate"], ["-x"], ["--version", "more"], ["--help", "more"], ["help", "frobnicate"],
    ["help", "load", "inspect"],
    ["inspect"], ["inspect", "a", "b"], ["inspect", ""], ["inspect", "a", "--jsn"], ["inspect", "a", "--json=1"],
    ["inspect", "a", "-j"], ["inspect", "-xh", "a"], ["inspect", "a", "--folder"], ["inspect", "a", "--folder", ""],
    ["inspect", "a"] + 65 * ["--folder", "."], ["load", "a", "--folder", ""], ["load", "a"] + 65 * ["--folder=."],
    ["features", "a"], ["features", "--repeat", "2"],
    ["load"], ["load", "a", "b"], ["load", "--json"], ["load", "a", "--engine"], ["load", "a", "--engine", "mmap"],
    ["load", "a", "--engine", ""], ["load", "a", "--order", ""],
    ["load", "a", "--repeat", "0"], ["load", "a", "--repeat", "-1"],
    ["load", "a", "--repeat", "1x"], ["load", "a", "--repeat", " 1"], ["load", "a", "--repeat", ""],
    ["load", "a", "--repeat", "1000001"], ["load", "a", "--repeat", "18446744073709551617"],
    ["load", "a", "--block", "0"], ["load", "a", "--block", "4095"], ["load", "a", "--block", "65M"],
    ["load", "a", "--block", "1Ki"], ["load", "a", "--block", "17179869184G"], ["load", "a", "--block", "2MB"],
    ["load", "a", "--depth", "0"], ["load", "a", "--depth", "65"], ["load", "a", "--cold=yes"],
    ["load", "a", "--rate", "0"], ["load", "a", "--rate", "fast"], ["load", "a", "--rate", "2049G"],
    ["load", "a", "--rate", "1025g"], ["load", "a", "--rate", "2T"], ["load", "a", "--block", "2p"],
    ["load", "a", "--block", "2mb"], ["load", "a", "--block", "2Mi"], ["version", "more"], ["help", "version", "more"],
    ["load", "a", "--help=1"], ["load", "a", "--device", ""],
    *(["load", "a", "--device", name] for name in ("gpu0", "hosts", "host:", "host:00", "host:1000", "cuda:-1",
                                                   "cuda:0x", "cuda: 1", "cuda:0:0", "cud", "nosuch:0")),
)


class Usage(Case):
    def test_wrong_usage_is_exit_2_with_a_pointer_to_help(self):
        for argv in WRONG:
            with self.subTest(argv=argv):
                done = sgi(*argv)
                self.assertEqual((done.code, done.out), (2, ""), done)
                command = argv[0] if argv and argv[0] in ("inspect", "load", "features") else ""
                self.assert_one_line(done, f"sgi {command}: " if command else "sgi: ")
                self.assertIn(f"see 'sgi help {command}".rstrip() + "'", done.err, done)

    def test_the_message_names_what_is_wrong(self):
        for argv, named in ((["load", "a", "--jsn"], "--jsn"),
                            (["load", "a", "--json=1"], "--json takes no value"),
                            (["load", "a", "--json", "-xj"], "-x"),
                            (["load", "a", "--help=1"], "--help takes no value"),
                            (["load", "--depth"], "--depth needs a value"), (["load", "a", "b"], "'b'"),
                            (["load", "a", "--block", "5000"], "'5000'"), (["frobnicate"], "'frobnicate'"),
                            (["load", "a", "--device", "gpu0"], "--device takes host, host:N, cuda or cuda:N, with N "
                                                                "from 0 to 999, not 'gpu0'"),
                            (["load", "a", "--rate", "0"], "from 1 up to 1.0 TiB, not '0'"),
                            (["load", "a", "--block", "0"], "a multiple of 4096 up to 64.0 MiB, not '0'")):
            with self.subTest(argv=argv):
                self.assertIn(named, sgi(*argv).err)

    def test_help_is_everywhere(self):
        general = self.good("help").out
        for argv in (["--help"], ["-h"], ["help", "--help"], ["help", "help"], ["help", "version"]):
            self.assertEqual(self.good(*argv).out, general)
        for command in ("inspect", "load", "features"):
            self.assertIn(f"sgi {command} ", general)
            text = self.good("help", command).out
            self.assertTrue(text.startswith(f"sgi {command} "), text)
            for argv in ([command, "--help"], [command, "-h"], [command, "nowhere", "--json", "--help"]):
                self.assertEqual(self.good(*argv).out, text)

    def test_help_names_what_json_has(self):
        inspect, load = self.good("help", "inspect").out, self.good("help", "load").out
        for member in ("packed", "base_bytes", "checks", "checked"):
            self.assertRegex(inspect, rf"\b{member}\b")
        for text in (inspect, load):
            self.assertLessEqual(max(map(len, text.splitlines())), 115)
        self.assertGreater(min(map(len, load.split("\n\n")[-1].splitlines()[:-1])), 80)

    def test_version(self):
        self.assertIn("sgi version ", self.good("help").out)
        for argv in (["--version"], ["-V"], ["version"]):
            self.assertRegex(self.good(*argv).out, r"\Asgi \d+\.\d+\.\d+\n\Z")

    def test_operands_after_two_dashes(self):
        self.failed(["inspect", "--", "--json"], "sgi: .*--json")


if __name__ == "__main__":
    main()
