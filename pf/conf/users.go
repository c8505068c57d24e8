package conf

// The users and groups of each BSD's base system whose numbers rulesets depend
// on. Everything else is asked from Config.LookupUser and Config.LookupGroup.
var baseUsers = [...]map[string]uint32{
	FreeBSD: {
		"root": 0, "toor": 0, "daemon": 1, "operator": 2, "bin": 3, "tty": 4, "kmem": 5,
		"games": 7, "news": 8, "man": 9, "sshd": 22, "smmsp": 25, "mailnull": 26, "bind": 53,
		"unbound": 59, "proxy": 62, "_pflogd": 64, "_dhcp": 65, "uucp": 66, "pop": 68,
		"auditdistd": 78, "www": 80, "ntpd": 123, "_ypldap": 160, "hast": 845, "nobody": 65534,
	},
	OpenBSD: {
		"root": 0, "daemon": 1, "operator": 2, "bin": 3, "build": 21, "sshd": 27, "_portmap": 28,
		"_identd": 29, "_rstatd": 30, "_rusersd": 32, "_fingerd": 33, "_x11": 35, "_unwind": 48,
		"_switchd": 49, "_spamd": 62, "www": 67, "_isakmpd": 68, "_syslogd": 73, "_pflogd": 74,
		"_bgpd": 75, "_tcpdump": 76, "_dhcp": 77, "_ntp": 83, "_ftp": 84, "_ospfd": 85,
		"_snmpd": 91, "_smtpd": 95, "_unbound": 53, "_ftp_proxy": 71, "proxy": 71, "nobody": 32767,
	},
	DragonFly: {
		"root": 0, "toor": 0, "daemon": 1, "operator": 2, "bin": 3, "tty": 4, "kmem": 5,
		"games": 7, "news": 8, "man": 9, "sshd": 22, "smmsp": 25, "mailnull": 26, "bind": 53,
		"proxy": 62, "_pflogd": 64, "_dhcp": 65, "uucp": 66, "pop": 68, "www": 80, "nobody": 65534,
	},
}

var baseGroups = [...]map[string]uint32{
	FreeBSD: {
		"wheel": 0, "daemon": 1, "kmem": 2, "sys": 3, "tty": 4, "operator": 5, "mail": 6, "bin": 7,
		"news": 8, "man": 9, "games": 13, "ftp": 14, "staff": 20, "sshd": 22, "smmsp": 25,
		"mailnull": 26, "guest": 31, "video": 44, "bind": 53, "unbound": 59, "proxy": 62,
		"authpf": 63, "_pflogd": 64, "_dhcp": 65, "uucp": 66, "dialer": 68, "network": 69,
		"audit": 77, "www": 80, "nogroup": 65533, "nobody": 65534,
	},
	OpenBSD: {
		"wheel": 0, "daemon": 1, "kmem": 2, "sys": 3, "tty": 4, "operator": 5, "bin": 7, "wsrc": 9,
		"users": 10, "auth": 11, "games": 13, "staff": 20, "wobj": 21, "sshd": 27, "guest": 31,
		"utmp": 45, "crontab": 66, "www": 67, "network": 69, "authpf": 72, "_pflogd": 74,
		"dialer": 117, "nogroup": 32766, "nobody": 32767,
	},
	DragonFly: {
		"wheel": 0, "daemon": 1, "kmem": 2, "sys": 3, "tty": 4, "operator": 5, "mail": 6, "bin": 7,
		"news": 8, "man": 9, "games": 13, "staff": 20, "sshd": 22, "smmsp": 25, "mailnull": 26,
		"guest": 31, "bind": 53, "proxy": 62, "authpf": 63, "_pflogd": 64, "_dhcp": 65, "uucp": 66,
		"dialer": 68, "network": 69, "www": 80, "nogroup": 65533, "nobody": 65534,
	},
}

func (c *Config) userID(name string) (uint32, bool) {
	if id, ok := baseUsers[c.Dialect][name]; ok {
		return id, true
	}
	if c.LookupUser != nil {
		return c.LookupUser(name)
	}
	return 0, false
}

func (c *Config) groupID(name string) (uint32, bool) {
	if id, ok := baseGroups[c.Dialect][name]; ok {
		return id, true
	}
	if c.LookupGroup != nil {
		return c.LookupGroup(name)
	}
	return 0, false
}
